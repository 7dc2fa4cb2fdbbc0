"""A small problem, its score, and an agent that learns, for studies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from automl.cost import Budget, Limit, build_cost_model
from automl.network.layers import Block, ChannelGroup, Layer, LayerPlan, Network, Width
from automl.policy.policy import Policy
from automl.space import build_space
from automl.study.problem import Agent, Completed, Problem, Trial


def chain_problem(share: float = 1.0) -> Problem:
    """Three convolutions, two open groups and a removable block; limited in MACs alone."""
    first, second = Width(parts=(("a", 1),)), Width(parts=(("b", 1),))
    sizes = (((8, 8), (8, 8)),)
    plans = (
        LayerPlan(Layer("a", "conv2d", 3, 16, (3, 3), out_size=(8, 8)), Width(3), first, sizes),
        LayerPlan(
            Layer("b", "conv2d", 16, 16, (3, 3), out_size=(8, 8)), first, second, sizes, "block"
        ),
        LayerPlan(Layer("c", "linear", 16, 10, out_size=(1, 1)), second, Width(10), sizes),
    )
    groups = (ChannelGroup("a", 16, (), ()), ChannelGroup("b", 16, (), ()))
    network = Network(plans, groups, (Block("block", ("b",), ()),), (1, 3, 8, 8), (8,))
    space = build_space(network, round_to=2)
    costs = build_cost_model(network, space, None)
    return Problem(space, costs, Budget((Limit("macs", share * costs.dense.macs),)))


class Climber(Agent):
    """Mutates the best it was told of: what it proposes depends on its seed and all it was told."""

    def __init__(self, problem: Problem, seed: int) -> None:
        self.space = problem.space
        self.generator = np.random.default_rng(seed)
        self.best = -np.inf
        self.at = problem.space.dense

    def ask(self, count: int) -> list[Policy]:
        vectors = np.repeat(self.at[None], count, axis=0)
        column = self.generator.integers(0, len(self.space.sizes), count)
        for row, place in zip(vectors, column, strict=True):
            row[place] = self.generator.integers(0, self.space.sizes[place])
        return [self.space.decode(vector) for vector in self.space.canonical(vectors)]

    def tell(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            if isinstance(trial, Completed) and trial.score > self.best:
                self.best, self.at = trial.score, self.space.encode(trial.policy)


def score(policy: Policy) -> float:
    return sum(policy.channels.values()) - 3.0 * len(policy.removed)
