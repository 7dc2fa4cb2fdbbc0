"""The parts of the policy gradient: networks, replay, exploration, updates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from contract import made_problem

from automl.agents.ddpg import Actor, Critic, DdpgAgent, DdpgSettings, Replay
from automl.agents.pruning_env import Episode
from automl.cost import Cost
from automl.space import Space, Variable, Vectors
from automl.study.problem import Completed, Failed, Problem

Tensor = torch.Tensor
COST = Cost(1.0, 1.0, 1.0)


def test_the_replay_forgets_the_oldest() -> None:
    replay = Replay(4, 1)
    for reward in (1.0, 2.0, 3.0):
        replay.add(torch.full((2, 1), reward), torch.zeros(2, 1), reward)
    assert sorted(replay.rewards[:, 0].tolist()) == [2.0, 2.0, 3.0, 3.0]


def test_the_replay_holds_what_follows_each_step() -> None:
    replay = Replay(8, 2)
    states = torch.arange(6.0).reshape(3, 2)
    replay.add(states, torch.tensor([[0.1], [0.2], [0.3]]), 5.0)
    assert torch.equal(replay.next_states[:2], states[1:])
    assert replay.goes_on[:3, 0].tolist() == [1.0, 1.0, 0.0]
    rows = replay.draw(50, torch.Generator().manual_seed(0))
    assert set(rows.tolist()) == {0, 1, 2}


def test_networks_are_drawn_from_the_generator_alone() -> None:
    before = torch.random.get_rng_state()
    first, again, other = (
        Actor(4, 8, torch.Generator().manual_seed(seed)).state_dict() for seed in (1, 1, 2)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["first.weight"], other["first.weight"])


def test_actions_and_values_have_one_column() -> None:
    generator = torch.Generator().manual_seed(0)
    actor, critic = Actor(4, 8, generator), Critic(4, 8, generator)
    states = torch.randn(5, 4, generator=generator)
    actions = actor(states)
    assert actions.shape == (5, 1)
    assert ((actions > 0.0) & (actions < 1.0)).all()
    assert critic(states, actions).shape == (5, 1)
    assert not torch.equal(critic(states, actions), critic(states, actions + 0.5))


@dataclass
class OneStep:
    """An environment of one step per policy, whose best action is the largest."""

    problem: Problem
    features: int = 1
    held_kinds: tuple[str, ...] = ()

    @property
    def order(self) -> list[int]:
        return [0]

    def additive_optimum(self) -> Vectors | None:
        return None

    def shares(self, vector: Vectors) -> list[float]:
        return [float(vector[0]) / (self.problem.space.sizes[0] - 1)]

    def replay(self, vector: Vectors, *, learns: bool = False) -> Episode:
        actions = torch.tensor([self.shares(vector)])
        return Episode(vector, torch.ones(1, 1), actions, learns)

    def rollout(
        self, act: Callable[[int, Tensor], float], generator: np.random.Generator, *, learns: bool
    ) -> Episode:
        options = self.problem.space.sizes[0]
        vector = np.array([round(act(0, torch.ones(1)) * (options - 1))], dtype=np.int16)
        return self.replay(vector, learns=learns)


SETTINGS = DdpgSettings(hidden=16, batch=16, warm_up=20, actor_rate=1e-2, patience=30)


def one_step(options: int) -> Problem:
    problem = made_problem(1, blocks=False)
    space = Space((Variable("channels", "g", tuple(range(1, options + 1))),))
    return replace(problem, space=space)


def learned(direction: float) -> tuple[float, float]:
    """The actor's action before and after learning that larger (1) or smaller (-1) is better."""
    problem = one_step(200)
    agent = DdpgAgent(OneStep(problem), 0, warm_start=False, settings=SETTINGS)
    state = torch.ones(1, 1)
    before = float(agent.actor(state).detach())
    for _ in range(15):
        policies = agent.ask(4)
        agent.tell(
            [
                Completed(0, policy, COST, 0.0, direction * float(vector[0]) / 199)
                for policy in policies
                for vector in (problem.space.encode(policy),)
            ]
        )
    return before, float(agent.actor(state).detach())


def test_the_actor_learns_where_the_score_is_high() -> None:
    before, up = learned(1.0)
    same, down = learned(-1.0)
    assert before == same
    assert down < before - 0.05
    assert up > before + 0.05


def test_it_ends_when_nothing_new_is_found() -> None:
    problem = one_step(3)
    agent = DdpgAgent(OneStep(problem), 0, warm_start=False, settings=SETTINGS)
    found = agent.ask(20)
    assert {problem.space.encode(policy)[0] for policy in found} == {0, 1, 2}
    assert agent.ask(1) == []


def test_a_failed_trial_is_dropped() -> None:
    problem = one_step(50)
    agent = DdpgAgent(OneStep(problem), 0, warm_start=False, settings=SETTINGS)
    (policy,) = agent.ask(1)
    agent.tell([Failed(0, policy, COST, 0.0, "drawn")])
    assert agent.replay.written == 0
    assert not agent.waiting
