"""The baseline: one ratio for every channel group and one precision for every layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from automl.errors import InfeasibleError
from automl.policy import Bits, Policy
from automl.space import Variable, Vectors, bit_options, channel_counts
from automl.study import Agent, Problem, Trial
from automl.units import QUANTITIES

#: Ratios that are tried, from one down.
RATIOS: Final = np.arange(1000, 0, -1) / 1000
#: From here on a layer counts as whole: more bits gain next to nothing in accuracy.
ENOUGH_BITS: Final = 8


class UniformAgent(Agent):
    """The largest common ratio of kept channels, or bit-width, that fits; all blocks stay.

    Every group keeps the option nearest to the ratio and every layer takes the precision nearest
    to the common one. All pairs are priced, so that prices which rise where channels or bits go are
    no trap. Of the precisions that fit, the best has the most bits in its narrower operand.

    Where channels are open too, the sum of two shares decides: the ratio, and the bits of the
    narrower operand out of eight. More than eight bits count as eight. So bits go down to eight
    before any channel goes, and half of the channels go before bits are halved to four. At equal
    sums the larger ratio wins, then the most bits. The resolution is lowered only where no pair
    fits.
    """

    def __init__(self, problem: Problem, seed: int = 0) -> None:
        self._problem = problem
        self.held = problem.space.kinds_but("channels", "bits", "resolution")
        self._asked = False

    def ask(self, count: int) -> list[Policy]:
        """The one policy, once.

        Raises:
            InfeasibleError: If no common ratio and precision meet the budget.
        """
        if self._asked or count < 1:
            return []
        vector = self._find()
        self._asked = True
        return [self._problem.space.decode(vector)]

    def tell(self, trials: Sequence[Trial]) -> None:
        """Nothing: there is one proposal."""

    def _find(self) -> Vectors:
        problem = self._problem
        candidates = _candidates(problem)
        resolution = problem.space.of_kind("resolution")
        sizes = range(problem.space.sizes[resolution[0]])[::-1] if resolution else (0,)
        least = np.full(len(QUANTITIES), np.inf)
        for size in sizes:
            candidates[:, list(resolution)] = size
            costs = problem.costs.price(candidates)
            fitting = np.flatnonzero(problem.budget.allows_all(costs))
            if len(fitting):
                chosen: Vectors = candidates[fitting[0]]
                return chosen
            least = np.fmin(least, costs.min(axis=0))
        common = "ratio and precision" if problem.space.of_kind("bits") else "ratio"
        raise InfeasibleError(
            problem.budget,
            problem.budget.named(least),
            subject=f"common {common}",
            advice="an agent that leaves blocks out may reach it",
            options=("agent",),
        )


def _candidates(problem: Problem) -> Vectors:
    """Vectors [pairs, variables] of every ratio with every precision, the most wanted first."""
    variables = problem.space.variables
    ratios = RATIOS if problem.space.of_kind("channels") else RATIOS[:1]
    precisions = _precisions(variables) or [Bits()]
    wanted: list[tuple[tuple[float, ...], float, Bits]] = []
    for bits in precisions:
        narrow = min(bits.weights, bits.activations)
        share = min(narrow, ENOUGH_BITS) / ENOUGH_BITS
        rest = (narrow, bits.weights + bits.activations)
        wanted += [
            ((float(ratio) + share, float(ratio), *rest), float(ratio), bits) for ratio in ratios
        ]
    wanted.sort(key=lambda each: each[0], reverse=True)
    vectors = np.tile(problem.space.dense, (len(wanted), 1))
    for index, variable in enumerate(variables):
        if variable.kind == "channels":
            counts = np.array(channel_counts(variable))
            each = np.array([ratio for _, ratio, _ in wanted])
            apart = np.abs(counts[None, :] - each[:, None] * counts[-1])
            vectors[:, index] = apart.argmin(axis=1)
        elif variable.kind == "bits":
            nearest = {bits: _nearest(bit_options(variable), bits) for bits in precisions}
            vectors[:, index] = [nearest[bits] for _, _, bits in wanted]
    return vectors


def _precisions(variables: Sequence[Variable]) -> list[Bits]:
    """Every precision that some layer has."""
    layers = (bit_options(variable) for variable in variables if variable.kind == "bits")
    return list(dict.fromkeys(bits for options in layers for bits in options))


def _nearest(options: Sequence[Bits], wanted: Bits) -> int:
    """The option whose bits differ least."""

    def apart(place: int) -> int:
        option = options[place]
        return abs(option.weights - wanted.weights) + abs(option.activations - wanted.activations)

    return min(range(len(options)), key=apart)
