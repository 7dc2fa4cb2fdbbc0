"""Learning from episodes by a deep deterministic policy gradient, as AMC and HAQ do.

Lillicrap et al., "Continuous control with deep reinforcement learning", 2015. An episode goes
through the network and ends in one policy. The policy's score is the reward of each of its steps.

What differs from the public code of AMC and HAQ:

- The replay holds realised actions, not the raw ones. It holds an episode's first step like others.
- Rewards are scaled by the spread of the scores seen, so that the score's unit does not matter.
- The actor's logit is held back. Without that its sigmoid is soon stuck at "keep all" or "nothing".
- An episode that leads to a known policy is repeated with a wider spread, so that no trial is
  wasted on it. The spread has a floor. The agent is finished when that leads to nothing new.
- With a warm start the optimum of additive sensitivity is the first episode in the replay, and the
  warm-up explores around it. From uniform episodes, a few hundred hardly ever come back to it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from automl.agents.pruning_env import Episode
from automl.policy import Policy
from automl.space import Vectors
from automl.study import Agent, Completed, Problem, Trial

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class DdpgSettings:
    """Every knob, at the values of AMC's public code unless a line says otherwise."""

    hidden: int = 300
    """Units in each of the two hidden layers of the actor and of the critic."""
    actor_rate: float = 1e-4
    """Learning rate of the actor (Adam)."""
    critic_rate: float = 1e-3
    """Learning rate of the critic (Adam)."""
    batch: int = 64
    """Transitions an update."""
    replay_episodes: int = 100
    """Length of the replay, in episodes of all steps."""
    discount: float = 1.0
    """Of the next step's value."""
    target_rate: float = 0.01
    """How far the target networks follow in an update."""
    warm_up: int = 100
    """Episodes without updates, of uniform actions where there is no warm start."""
    warm_sigma: float = 0.2
    """Spread of the warm-up's actions around those of a warm start (not in the code)."""
    sigma: float = 0.5
    """Spread of the truncated normal around the actor's action, after the warm-up."""
    decay: float = 0.95
    """What the spread is multiplied with after each episode."""
    baseline_rate: float = 0.5
    """Weight of the newest batch in the moving average of rewards."""
    logit_penalty: float = 0.1
    """Weight of the squared logit in the actor's loss: without it the sigmoid saturates at one of
    its ends, where it learns no more (not in the code)."""
    reward_spread: float = 1.0
    """Standard deviation that rewards are scaled to (not in the code)."""
    least_sigma: float = 0.02
    """Floor of the spread (not in the code)."""
    widening: float = 1.1
    """What the spread grows by with each episode that leads to a known policy (not in the code)."""
    patience: int = 100
    """Such episodes in a row before the agent is finished (not in the code)."""


class Actor(nn.Module):
    """The action for a state: [batch, features] to [batch, 1] in [0, 1]."""

    def __init__(self, features: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        self.first = _linear(features, hidden, generator)
        self.second = _linear(hidden, hidden, generator)
        self.last = _linear(hidden, 1, generator)

    def forward(self, state: Tensor) -> Tensor:
        """A sigmoid of the logit."""
        return torch.sigmoid(self.logit(state))

    def logit(self, state: Tensor) -> Tensor:
        """The action before the sigmoid: two hidden layers with ReLU."""
        value: Tensor = self.last(F.relu(self.second(F.relu(self.first(state)))))
        return value


class Critic(nn.Module):
    """The value of an action in a state: [batch, features] and [batch, 1] to [batch, 1]."""

    def __init__(self, features: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        self.state = _linear(features, hidden, generator)
        self.action = _linear(1, hidden, generator)
        self.second = _linear(hidden, hidden, generator)
        self.last = _linear(hidden, 1, generator)

    def forward(self, state: Tensor, action: Tensor) -> Tensor:
        """State and action are added in the first hidden layer."""
        hidden = F.relu(self.state(state) + self.action(action))
        value: Tensor = self.last(F.relu(self.second(hidden)))
        return value


class Replay:
    """The newest transitions, in arrays that are written round and round."""

    def __init__(self, length: int, features: int) -> None:
        self.states = torch.zeros(length, features)
        self.next_states = torch.zeros(length, features)
        self.actions = torch.zeros(length, 1)
        self.rewards = torch.zeros(length, 1)
        self.goes_on = torch.zeros(length, 1)
        self.written = 0

    def add(self, states: Tensor, actions: Tensor, reward: float) -> None:
        """One episode: states [steps, features], realised actions [steps, 1], its score."""
        steps = len(states)
        rows = (self.written + torch.arange(steps)) % len(self.states)
        self.states[rows] = states
        self.next_states[rows] = torch.cat([states[1:], states[-1:]])
        self.actions[rows] = actions
        self.rewards[rows] = reward
        self.goes_on[rows] = (torch.arange(steps) < steps - 1).float()[:, None]
        self.written += steps

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Rows of a batch."""
        return torch.randint(min(self.written, len(self.states)), (count,), generator=generator)


class Environment(Protocol):
    """The environment: what the steps of an episode are, and how actions end in a policy."""

    problem: Problem
    features: int
    held_kinds: tuple[str, ...]

    @property
    def order(self) -> Sequence[object]:
        """What can be a step, in network order."""
        ...

    def additive_optimum(self) -> Vectors | None:
        """The optimum of additive sensitivity, where sensitivity was measured."""
        ...

    def shares(self, vector: Vectors) -> list[float]:
        """The action that each step of the order would have to be for this policy."""
        ...

    def replay(self, vector: Vectors, *, learns: bool = False) -> Episode:
        """The episode that leads to a given policy within the budget."""
        ...

    def rollout(
        self, act: Callable[[int, Tensor], float], generator: np.random.Generator, *, learns: bool
    ) -> Episode:
        """An episode of actions (from position and state) that ends within the budget."""
        ...


class DdpgAgent(Agent):
    """A deep deterministic policy gradient over the steps of an environment.

    Args:
        env: The environment.
        seed: Of the networks, the exploration and the batches.
        warm_start: Propose the optimum of additive sensitivity first, and put it in the replay
            first, where the problem has a sensitivity.
        settings: Every knob.
    """

    def __init__(
        self, env: Environment, seed: int, *, warm_start: bool, settings: DdpgSettings
    ) -> None:
        self.settings = settings
        self.env = env
        self.held = env.held_kinds
        self.generator = torch.Generator().manual_seed(seed)
        self.filling = np.random.default_rng(seed)
        features, hidden = self.env.features, self.settings.hidden
        self.actor = Actor(features, hidden, self.generator)
        self.critic = Critic(features, hidden, self.generator)
        self.actor_target = copy.deepcopy(self.actor)
        self.critic_target = copy.deepcopy(self.critic)
        self.actor_steps = torch.optim.Adam(
            self.actor.parameters(), self.settings.actor_rate, fused=True
        )
        self.critic_steps = torch.optim.Adam(
            self.critic.parameters(), self.settings.critic_rate, fused=True
        )
        steps = len(self.env.order)
        self.replay = Replay(self.settings.replay_episodes * steps, features)
        self.baseline: float | None = None
        #: Episodes whose score is not known yet, and all scores; None where a trial failed.
        self.waiting: list[Episode] = []
        self.scores: dict[bytes, float | None] = {}
        self.first = self.env.additive_optimum() if warm_start else None
        self.near = None if self.first is None else self.env.shares(self.first)

    def ask(self, count: int) -> list[Policy]:
        """New policies, one per episode; none when episodes lead to nothing new any more."""
        policies: list[Policy] = []
        known = {episode.vector.tobytes() for episode in self.waiting} | self.scores.keys()
        repeated = 0
        while len(policies) < count and repeated < self.settings.patience:
            episode = self._episode(repeated)
            key = episode.vector.tobytes()
            repeated += 1
            if key not in known:
                known.add(key)
                self.waiting.append(episode)
                policies.append(self.env.problem.space.decode(episode.vector))
                repeated = 0
        return policies

    def tell(self, trials: Sequence[Trial]) -> None:
        """Put the scored episodes into the replay and learn; what has no score is dropped."""
        for trial in trials:
            key = self.env.problem.space.encode(trial.policy).tobytes()
            self.scores[key] = trial.score if isinstance(trial, Completed) else None
        known = [episode for episode in self.waiting if episode.vector.tobytes() in self.scores]
        self.waiting = [each for each in self.waiting if each.vector.tobytes() not in self.scores]
        scores = [score for score in self.scores.values() if score is not None]
        scale = self.settings.reward_spread / (float(np.std(scores)) or 1.0) if scores else 1.0
        with _one_thread():
            for episode in known:
                score = self.scores[episode.vector.tobytes()]
                if score is not None:
                    self.replay.add(episode.states, episode.actions, score)
                    for _ in range(len(episode.states) if episode.learns else 0):
                        self._update(scale)

    def _episode(self, repeated: int) -> Episode:
        """One episode with the actor of now."""
        if self.first is not None:
            given, self.first = self.first, None
            return self.env.replay(given)
        past = len(self.scores) + len(self.waiting) - self.settings.warm_up
        sigma = self.settings.sigma * self.settings.decay ** max(past, 0)
        sigma = max(sigma, self.settings.least_sigma) * self.settings.widening**repeated

        def act(position: int, state: Tensor) -> float:
            if past >= 0:
                with torch.no_grad():
                    mean = float(self.actor(state[None]))
                return _truncated_normal(mean, sigma, self.generator)
            if self.near is None:
                return float(torch.rand((), generator=self.generator))
            wide = self.settings.warm_sigma * self.settings.widening**repeated
            return _truncated_normal(self.near[position], wide, self.generator)

        with _one_thread():
            return self.env.rollout(act, self.filling, learns=past >= 0)

    def _update(self, scale: float) -> None:
        """One step of the critic, one of the actor, and the targets follow."""
        settings, replay = self.settings, self.replay
        rows = replay.draw(settings.batch, self.generator)
        states, actions, goes_on = replay.states[rows], replay.actions[rows], replay.goes_on[rows]
        rewards = replay.rewards[rows] * scale
        mean, weight = float(rewards.mean()), settings.baseline_rate
        before = mean if self.baseline is None else self.baseline
        self.baseline = before + weight * (mean - before)

        with torch.no_grad():
            following = replay.next_states[rows]
            ahead = self.critic_target(following, self.actor_target(following))
            goal = rewards - self.baseline + settings.discount * goes_on * ahead
        critic_loss = F.mse_loss(self.critic(states, actions), goal)
        self.critic_steps.zero_grad()
        critic_loss.backward()
        self.critic_steps.step()

        logits = self.actor.logit(states)
        actor_loss = -self.critic(states, torch.sigmoid(logits)).mean()
        actor_loss = actor_loss + settings.logit_penalty * logits.square().mean()
        self.actor_steps.zero_grad()
        actor_loss.backward()
        self.actor_steps.step()

        with torch.no_grad():
            for target, learned in (
                (self.actor_target, self.actor),
                (self.critic_target, self.critic),
            ):
                for slow, fast in zip(target.parameters(), learned.parameters(), strict=True):
                    slow.lerp_(fast, settings.target_rate)


def _truncated_normal(mean: float, sigma: float, generator: torch.Generator) -> float:
    """A draw from the normal distribution around a mean in [0, 1], cut to [0, 1]."""
    drawn = torch.rand((), generator=generator, dtype=torch.float64)
    ends = torch.special.ndtr((torch.tensor([0.0, 1.0], dtype=torch.float64) - mean) / sigma)
    value = mean + sigma * torch.special.ndtri(ends[0] + drawn * (ends[1] - ends[0]))
    return float(value.clamp(0.0, 1.0))


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """torch's own initial weights, drawn from our generator and not from the global one."""
    layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
    bound = inputs**-0.5
    nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
    nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
    return layer


@contextmanager
def _one_thread() -> Iterator[None]:
    """Small products are fastest, and always the same, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
