"""The environment of channels and blocks: its order, its states, what it holds."""

from __future__ import annotations

import numpy as np
import pytest
from contract import made_problem

import handmade
from automl.agents.amc import AmcAgent, AmcSettings
from automl.agents.pruning_env import PruningEnv
from automl.cost import Budget, Limit, build_cost_model
from automl.space import build_space
from automl.study.problem import Problem, read_geometry


def real_problem(share: float) -> Problem:
    network = handmade.network()
    space = build_space(network, round_to=4)
    costs = build_cost_model(network, space, handmade.Formula())
    budget = Budget((Limit("latency", share * costs.dense.latency),))
    return Problem(space, costs, budget, None, read_geometry(network, space))


def test_states_describe_layers_between_zero_and_one() -> None:
    problem = real_problem(0.6)
    env = PruningEnv(problem)
    names = [problem.space.variables[variable].name for variable in env.order]
    assert names == ["stem", "block", "inner", "inner_free", "left"]
    states = env.replay(env.completion.first).states
    assert states.min() >= 0.0
    assert states.max() <= 1.0
    reduced, rest = states[:, -3], states[:, -2]
    assert (reduced.diff() <= 0.0).all()  # with all that is left at its least, it can only shrink
    assert (rest.diff() <= 0.0).all()
    assert rest[-1] == 0.0


def test_the_resolution_is_lowered_only_where_it_must_be() -> None:
    problem = real_problem(0.6)
    resolution = problem.space.of_kind("resolution")[0]
    assert PruningEnv(problem).held[resolution] == problem.space.sizes[resolution] - 1
    tight = real_problem(0.05)
    assert PruningEnv(tight).held[resolution] == 0
    policies = AmcAgent(tight, 1, settings=AmcSettings(hidden=64)).ask(8)
    assert policies
    assert all(tight.budget.allows(tight.costs.cost(policy)) for policy in policies)


def test_a_replay_leads_to_the_policy_that_was_given() -> None:
    problem = made_problem(6, seed=3, share=0.5)
    env = PruningEnv(problem)
    vector = env.completion.first
    episode = env.replay(vector, learns=True)
    assert np.array_equal(episode.vector, problem.space.canonical(vector))
    assert episode.learns
    assert episode.states.shape == (len(episode.actions), env.features)


@pytest.mark.parametrize("wanted", [0.0, 0.4, 1.0])
def test_a_rollout_ends_within_the_budget_with_no_room_left(wanted: float) -> None:
    problem = made_problem(6, seed=4, share=0.4)
    env = PruningEnv(problem)
    episode = env.rollout(lambda step, state: wanted, np.random.default_rng(0), learns=False)
    vector = episode.vector
    assert problem.budget.allows(problem.costs.cost(problem.space.decode(vector)))
    for variable, size in enumerate(problem.space.sizes):
        if vector[variable] + 1 < size:
            raised = vector.copy()
            raised[variable] += 1
            assert not problem.budget.allows_all(problem.costs.price(raised[None]))[0]


def test_actions_are_kept_shares_and_a_step_in_a_removed_block_is_left_out() -> None:
    problem = real_problem(0.9)
    env = PruningEnv(problem)
    whole = env.replay(problem.space.dense)
    assert whole.actions[:, 0].tolist() == [1.0] * len(env.order)
    assert env.shares(problem.space.dense) == [1.0] * len(env.order)
    (block,) = problem.space.of_kind("block")
    removed = problem.space.dense.copy()
    removed[block] = 0
    inside = [inner for gate, inners in problem.space.nested if gate == block for inner in inners]
    assert inside
    assert len(env.replay(removed).actions) == len(env.order) - len(inside)
