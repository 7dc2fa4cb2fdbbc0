"""Pruning as an environment: steps, states, and actions that keep to the budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from automl.errors import InfeasibleError, SpaceError
from automl.solver import Completion, Floats, Projection, solve
from automl.space import Vectors, channel_counts
from automl.study import Problem
from automl.units import QUANTITIES

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class Episode:
    """One policy and how it came about.

    Attributes:
        vector: The policy.
        states: [steps, features].
        actions: Realised, [steps, 1].
        learns: Whether updates follow, one per step.
    """

    vector: Vectors
    states: Tensor
    actions: Tensor
    learns: bool


class PruningEnv:
    """The environment: steps in network order, states, and actions that keep to the budget."""

    def __init__(self, problem: Problem) -> None:
        if not problem.space.of_kind("channels"):
            raise SpaceError(
                "amc keeps shares of channel groups, and this space has none", lacks=("channels",)
            )
        self.problem = problem
        self.gates = problem.space.blocks_around
        self.order = _network_order(problem)
        self.held, self.completion = _within_budget(problem, self.order)
        self.held_kinds = tuple(
            kind
            for kind in problem.space.kinds_but("block", "channels")
            if all(self.held[i] == problem.space.sizes[i] - 1 for i in problem.space.of_kind(kind))
        )
        self._projection = Projection(problem)
        self._least = self.completion.first.copy()
        self._least[self.order] = 0
        self._whole = float(self._spent(problem.space.dense[None])[0])
        self._layers, self._rest = self._described()
        self.features = self._layers.shape[1] + 3

    def additive_optimum(self) -> Vectors | None:
        """The optimum of additive sensitivity with what is held, where sensitivity was measured."""
        problem = self.problem
        if problem.sensitivity is None:
            return None
        sensitivity, pairwise = problem.sensitivity.single, problem.sensitivity.pairwise
        return solve(problem.costs, sensitivity, problem.budget, self.held, pairwise).vector

    def shares(self, vector: Vectors) -> list[float]:
        """The action that each step of the order would have to be for this policy."""
        return [float(self._shares(each)[vector[each]]) for each in self.order]

    def replay(self, vector: Vectors, *, learns: bool = False) -> Episode:
        """The episode that leads to a given policy within the budget."""
        return self._episode(lambda position, witness, state: vector, learns)

    def rollout(
        self, act: Callable[[int, Tensor], float], generator: np.random.Generator, *, learns: bool
    ) -> Episode:
        """An episode of actions, each rounded to the nearest option that can be afforded.

        What room it leaves is filled at random; the episode is the one that leads to the end.

        Args:
            act: From the step's position in the order and its state.
            generator: Of the filling.
            learns: As in `Episode`.
        """

        def choose(position: int, witness: Vectors, state: Tensor) -> Vectors:
            shares = self._shares(self.order[position])
            wanted = np.argsort(np.abs(shares - act(position, state)), kind="stable")
            return self.completion.choose(witness, position, wanted.tolist())

        vector = self._episode(choose, learns=learns).vector
        return self.replay(self._projection.randomly(vector, generator), learns=learns)

    def _episode(self, choose: Callable[[int, Vectors, Tensor], Vectors], learns: bool) -> Episode:
        witness, partial, action = self.completion.first, self._least.copy(), 1.0
        states: list[Tensor] = []
        actions: list[float] = []
        for position, variable in enumerate(self.order):
            gate = self.gates.get(variable)
            if gate is not None and witness[gate] == 0:
                continue
            states.append(self._state(position, partial, action))
            witness = choose(position, witness, states[-1])
            partial[variable] = witness[variable]
            action = float(self._shares(variable)[witness[variable]])
            actions.append(action)
        vector = self.problem.space.canonical(witness)
        return Episode(vector, torch.stack(states), torch.tensor(actions)[:, None], learns)

    def _shares(self, variable: int) -> Floats:
        """The action that each option is: kept shares; 0 and 1 for a block."""
        meaning = self.problem.space.variables[variable]
        if meaning.kind == "block":
            return np.array([0.0, 1.0])
        counts: Floats = np.array(channel_counts(meaning), dtype=np.float64)
        shares: Floats = counts / counts[-1]
        return shares

    def _state(self, position: int, partial: Vectors, action: float) -> Tensor:
        """The layer, what is saved with all that is left at its least, what is left, a[t-1]."""
        reduced = 1.0 - float(self._spent(partial[None])[0]) / self._whole
        row = [*self._layers[position].tolist(), reduced, float(self._rest[position]), action]
        return torch.tensor(row, dtype=torch.float32)

    def _spent(self, vectors: Vectors) -> Floats:
        """Cost in shares of the limit, of the worst limit; in MACs where nothing is limited."""
        costs, limits = self.problem.costs.price(vectors), self.problem.budget.limits
        if not limits:
            macs: Floats = costs[:, QUANTITIES.index("macs")]
            return macs
        columns = [QUANTITIES.index(limit.quantity) for limit in limits]
        worst: Floats = (costs[:, columns] / [limit.value for limit in limits]).max(axis=1)
        return worst

    def _described(self) -> tuple[Floats, Floats]:
        """Rows of layers scaled to [0, 1] a column, and the share of the cost after each step."""
        space = self.problem.space
        alone = np.tile(space.dense, (len(self.order), 1))
        alone[np.arange(len(self.order)), self.order] = 0
        saved = self._whole - self._spent(alone)
        rows = []
        for position, variable in enumerate(self.order):
            meaning, size = space.variables[variable], float(self._shares(variable)[0])
            row = [position, meaning.kind == "block", size, saved[position]]
            if self.problem.geometry:
                row += dataclasses.astuple(self.problem.geometry[variable])
            rows.append(row)
        table = np.array(rows, dtype=np.float64)
        low, span = table.min(axis=0), np.ptp(table, axis=0)
        later = saved[::-1].cumsum()[::-1] - saved
        scaled = (table - low) / np.where(span > 0.0, span, 1.0)
        return scaled, later / max(float(saved.sum()), 1e-30)


def _network_order(problem: Problem) -> list[int]:
    """Blocks and channel groups as the network runs, a block before the groups inside it."""
    space = problem.space
    inside = dict(space.nested)

    def place(variable: int) -> tuple[float, bool, int]:
        position = min(inside.get(variable) or (variable,))
        if problem.geometry:
            position = problem.geometry[variable].position
        is_block = space.variables[variable].kind == "block"
        return position, not is_block, variable

    return sorted((*space.of_kind("block"), *space.of_kind("channels")), key=place)


def _within_budget(problem: Problem, order: Sequence[int]) -> tuple[dict[int, int], Completion]:
    """What is not in the order held dense, the resolution as high as the budget lets it be."""
    space = problem.space
    steps = set(order)
    held = {i: size - 1 for i, size in enumerate(space.sizes) if i not in steps}
    resolution = next(iter(space.of_kind("resolution")), None)
    while True:
        try:
            return held, Completion(problem, order, held)
        except InfeasibleError:
            if resolution is None or held[resolution] == 0:
                raise
            held[resolution] -= 1
