"""Bit-widths as an environment: steps, states, and bits lowered until the cost fits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Final, Literal

import numpy as np
import torch

from automl.agents.pruning_env import Episode
from automl.errors import InfeasibleError, SpaceError
from automl.solver import Floats, solve
from automl.space import Pairwise, Variable, Vectors, bit_options
from automl.study import Problem
from automl.units import QUANTITIES

Tensor = torch.Tensor
Operand = Literal["weights", "activations"]
#: A layer and the operand whose bits change.
Move = tuple[int, Operand]
#: From a step's place in the order, its state and its bits to choose from: which of these.
Pick = Callable[[int, Tensor, Sequence[int]], int]
#: Kinds that need not stay dense where the budget cannot be met by bits alone.
_KNOWN: Final = ("resolution", "block", "channels", "bits")
_ORDER: Final[tuple[Operand, ...]] = ("weights", "activations")


class LayerBits:
    """The precisions of one layer as two choices, one after the other."""

    def __init__(self, variable: Variable) -> None:
        pairs = bit_options(variable)
        self._places = {(pair.weights, pair.activations): i for i, pair in enumerate(pairs)}
        self._pairs = tuple(self._places)
        #: Bits of weights to choose from, ascending.
        self.weights = tuple(sorted({pair.weights for pair in pairs}))
        #: Bits of activations that go with each of them, ascending.
        self.activations = {
            bits: tuple(sorted(pair.activations for pair in pairs if pair.weights == bits))
            for bits in self.weights
        }

    def option(self, weights: int, activations: int) -> int:
        """The position of a precision among the variable's options."""
        return self._places[weights, activations]

    def bits(self, option: int) -> tuple[int, int]:
        """Bits of weights and of activations."""
        return self._pairs[option]

    def stepped(self, option: int, operand: Operand, direction: int) -> int:
        """The option with the operand's next bits up (1) or down (-1), or itself at the end.

        Activations stay when weights change, or take the nearest bits that go with the new ones.
        """
        weights, activations = self.bits(option)
        choices = self.weights if operand == "weights" else self.activations[weights]
        place = choices.index(weights if operand == "weights" else activations) + direction
        if not 0 <= place < len(choices):
            return option
        if operand == "activations":
            return self.option(weights, choices[place])
        beside = self.activations[choices[place]]
        return self.option(choices[place], min(beside, key=lambda bits: abs(bits - activations)))


class BitsEnv:
    """The environment: two steps per layer, and actions that end in a policy within the budget.

    Raises:
        SpaceError: If no layer has a choice of bits.
        InfeasibleError: If nothing meets the budget; names the least.
    """

    def __init__(self, problem: Problem) -> None:
        variables = problem.space.variables
        bits = [i for i in problem.space.of_kind("bits") if len(variables[i].options) > 1]
        if not bits:
            raise SpaceError(
                "haq chooses the bits of layers, and this space offers none: it takes a target with"
                " several precisions",
                lacks=("bits",),
            )
        self.problem = problem
        self.layer_bits = {variable: LayerBits(variables[variable]) for variable in bits}
        self._base, self._within = _settled(problem, bits)
        changed = np.flatnonzero(self._base != problem.space.dense).tolist()
        chosen = {variables[variable].kind for variable in changed}
        self.held_kinds = problem.space.kinds_but("bits", *chosen)
        self.layers = _network_order(problem, self._base, bits)
        self.order: list[Move] = [(each, operand) for each in self.layers for operand in _ORDER]
        self._layer_states = _described(problem, self.layers)
        self.features = self._layer_states.shape[1] + 2

    def additive_optimum(self) -> Vectors | None:
        """The optimum of additive sensitivity with what is held, where sensitivity was measured."""
        return self._within if self.problem.sensitivity is not None else None

    def shares(self, vector: Vectors) -> list[float]:
        """The action of each step of the order for this policy: the middle of its bits' share."""
        found: list[float] = []
        for variable in self.layers:
            weights, activations = self.layer_bits[variable].bits(int(vector[variable]))
            choices = self.layer_bits[variable].activations[weights]
            found.append(_share(self.layer_bits[variable].weights, weights))
            found.append(_share(choices, activations))
        return found

    def replay(self, vector: Vectors, *, learns: bool = False) -> Episode:
        """The episode that leads to a given policy within the budget."""
        wanted = [
            bits for each in self.layers for bits in self.layer_bits[each].bits(int(vector[each]))
        ]
        return self._episode(lambda place, state, choices: wanted[place], learns)

    def rollout(
        self, act: Callable[[int, Tensor], float], generator: np.random.Generator, *, learns: bool
    ) -> Episode:
        """An episode of actions, each in [0, 1] with an equal share of it for each of the bits.

        Its bits are lowered until the cost fits, what room is left is filled at random, and the
        episode is the one that leads to the end.

        Args:
            act: From the step's place in the order and its state.
            generator: Of the filling.
            learns: As in `Episode`.
        """

        def pick(place: int, state: Tensor, choices: Sequence[int]) -> int:
            return choices[min(int(act(place, state) * len(choices)), len(choices) - 1)]

        drawn = self._episode(pick, learns).vector
        return self.replay(self.fill(self.enforce(drawn), generator), learns=learns)

    def enforce(self, vector: Vectors) -> Vectors:
        """Lower bits, the last layer's first and activations before weights, until the cost fits.

        A sweep lowers each by one option, except for those whose price alone would not fall in any
        quantity that is exceeded. Where no single option is cheaper (a conversion between layers
        costs more than it saves), layers take their bits from a policy known to fit, the last
        first.
        """
        downwards = self.order[::-1]
        while not self._allows(vector[None])[0]:
            alone = self._moved(vector, downwards, -1, alone=True)
            helps = self._over(alone) < self._over(vector[None])
            moves = [move for move, does in zip(downwards, helps.tolist(), strict=True) if does]
            if not moves:
                path = np.tile(vector, (len(self.layers), 1))
                for row, variable in enumerate(reversed(self.layers)):
                    path[row:, variable] = self._within[variable]
            else:
                path = self._moved(vector, moves, -1)
            fits = self._allows(path)
            vector = path[int(np.argmax(fits))] if fits.any() else path[-1]
        return self.problem.space.canonical(vector)

    def fill(self, vector: Vectors, generator: np.random.Generator) -> Vectors:
        """Raise bits by one option at a time in random order, as far as the budget allows."""
        while True:
            alone = self._moved(vector, self.order, 1, alone=True)
            fits = self._allows(alone) & (alone != vector).any(axis=1)
            fitting = [self.order[place] for place in np.flatnonzero(fits).tolist()]
            if not fitting:
                return self.problem.space.canonical(vector)
            shuffled = [fitting[place] for place in generator.permutation(len(fitting)).tolist()]
            path = self._moved(vector, shuffled, 1)
            # The first step fits by itself, and so does every step before one that does not.
            vector = path[int(np.argmin(np.append(self._allows(path[1:]), False)))]

    def _moved(
        self, vector: Vectors, moves: Sequence[Move], direction: int, *, alone: bool = False
    ) -> Vectors:
        """Vectors [moves, variables]: after each further move, or after each move alone."""
        rows = np.tile(vector, (len(moves), 1))
        for row, (variable, operand) in enumerate(moves):
            changed = self.layer_bits[variable].stepped(
                int(rows[row, variable]), operand, direction
            )
            rows[row if alone else slice(row, None), variable] = changed
        return rows

    def _allows(self, vectors: Vectors) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        return self.problem.budget.allows_all(self.problem.costs.price(vectors))

    def _over(self, vectors: Vectors) -> Floats:
        """By how much the limits are exceeded, each relative to itself, in sum."""
        limits = self.problem.budget.limits
        columns = [QUANTITIES.index(limit.quantity) for limit in limits]
        costs = self.problem.costs.price(vectors)[:, columns]
        over: Floats = np.maximum(costs / [limit.value for limit in limits] - 1.0, 0.0).sum(axis=1)
        return over

    def _episode(self, pick: Pick, learns: bool) -> Episode:
        vector, states, actions = self._base.copy(), list[Tensor](), [1.0]

        def step(layer: int, operand: Operand, choices: Sequence[int]) -> int:
            if len(choices) == 1:
                return choices[0]
            row = [*self._layer_states[layer].tolist(), actions[-1], float(operand == "weights")]
            states.append(torch.tensor(row, dtype=torch.float32))
            place = 2 * layer + _ORDER.index(operand)
            bits = pick(place, states[-1], choices)
            actions.append(_share(choices, bits))
            return bits

        for layer, variable in enumerate(self.layers):
            layer_bits = self.layer_bits[variable]
            weights = step(layer, "weights", layer_bits.weights)
            activations = step(layer, "activations", layer_bits.activations[weights])
            vector[variable] = layer_bits.option(weights, activations)
        realised = torch.tensor(actions[1:])[:, None]
        return Episode(self.problem.space.canonical(vector), torch.stack(states), realised, learns)


def _share(choices: Sequence[int], bits: int) -> float:
    """The middle of the actions in [0, 1] that mean these bits."""
    return (choices.index(bits) + 0.5) / len(choices)


def _settled(problem: Problem, bits: Sequence[int]) -> tuple[Vectors, Vectors]:
    """What is held where bits are not chosen, and a policy within the budget that agrees with it.

    All but bits is dense. Where that cannot meet the budget, the other kinds that are known here
    are what they are in the policy of least sensitivity (of least distance from dense, where
    sensitivity was not measured).
    """
    space = problem.space
    sensitivity = tuple(np.linspace(1.0, 0.0, size) for size in space.sizes)
    pairwise: Pairwise = ()
    if problem.sensitivity is not None:
        sensitivity, pairwise = problem.sensitivity.single, problem.sensitivity.pairwise
    rest = {i: size - 1 for i, size in enumerate(space.sizes) if i not in set(bits)}
    unknown = {i: rest[i] for i in rest if space.variables[i].kind not in _KNOWN}
    try:
        vector = solve(problem.costs, sensitivity, problem.budget, rest, pairwise).vector
    except InfeasibleError:
        vector = solve(problem.costs, sensitivity, problem.budget, unknown, pairwise).vector
    base = vector.copy()
    base[list(bits)] = space.dense[list(bits)]
    return base, vector


def _network_order(problem: Problem, base: Vectors, bits: Sequence[int]) -> list[int]:
    """The layers as the network runs, without those of blocks that are left out.

    Raises:
        SpaceError: If none is left.
    """
    space = problem.space
    gone = {
        inner
        for gate, inners in space.nested
        if base[gate] != space.sizes[gate] - 1
        for inner in inners
    }
    layers = [variable for variable in bits if variable not in gone]
    if not layers:
        raise SpaceError(
            "haq chooses the bits of layers, and the budget leaves out the blocks of all that have"
            " a choice",
            lacks=("bits",),
        )
    if problem.geometry:
        layers.sort(key=lambda variable: problem.geometry[variable].position)
    return layers


def _described(problem: Problem, layers: Sequence[int]) -> Floats:
    """Rows of layers, each column scaled to [0, 1]: place, geometry, and what few bits save."""
    alone = np.tile(problem.space.dense, (len(layers), 1))
    alone[np.arange(len(layers)), list(layers)] = 0
    saved = problem.costs.price(problem.space.dense[None]) - problem.costs.price(alone)
    limited = {QUANTITIES.index(limit.quantity) for limit in problem.budget.limits}
    columns = sorted(limited | {QUANTITIES.index("bytes")})
    table = np.column_stack([np.arange(len(layers)), saved[:, columns]])
    if problem.geometry:
        rows = [dataclasses.astuple(problem.geometry[variable]) for variable in layers]
        table = np.column_stack([table, np.array(rows, dtype=np.float64)])
    low, span = table.min(axis=0), np.ptp(table, axis=0)
    scaled: Floats = (table - low) / np.where(span > 0.0, span, 1.0)
    return scaled
