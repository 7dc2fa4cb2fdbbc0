"""What kinds of choices do together, fitted to what candidates scored.

Sensitivities are measured one choice at a time. Their sums are fair among choices of one kind, and
less so between kinds: what a point of sensitivity costs differs between channels, blocks, the
resolution and bits. So a candidate's loss (minus its score) is modelled as

    loss = base + sum over kinds of map(summed sensitivity of the kind)

where the map is a slope of 0 or more for kinds of many parts, and any non-decreasing map of the
options for kinds of one part (the resolution). Both keep the problem additive, so that the solver
solves it exactly for a given fit. The fit is non-negative least squares with a pull towards one
slope for all kinds, so that few candidates suffice: the maximum a posteriori of a linear model.
Candidates near the best count most, because far from it scores saturate.

Source: CLADO and SPDY (Frantar and Alistarh, 2022, section 3.2) fit what the additive sum misses,
one coefficient a layer or a pair of layers; here it is one a kind, from the candidates that a
search scores anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import nnls

from automl.solver.bucket_elimination import Floats, Integers
from automl.space import Pairwise, Sensitivity, Space, Vectors

#: Standard deviation of what the model misses, in those of the losses.
_NOISE: Final = 0.1
#: The common slope is at least this, in standard deviations of loss and of summed sensitivity.
_LEAST_SLOPE: Final = 0.1
#: A step between two options may be larger than expected by this share of the mean step.
_STEP_SLACK: Final = 0.25


@dataclass(frozen=True, slots=True)
class KindSums:
    """The summed sensitivity of each kind of choice in a policy, as columns of a linear model.

    What two choices do together counts with the kind of the second. A kind of one part has a column
    for each step between its options in the order of their sensitivity.

    Attributes:
        space: The choices.
        sensitivity: Of each choice alone, and of pairs.
    """

    space: Space
    sensitivity: Sensitivity

    @property
    def steps(self) -> dict[str, tuple[int, Integers]]:
        """Per kind of one part: its variable, and its options from the least sensitivity on."""
        joined = {second for (_, second), _ in self.sensitivity.pairwise}
        found: dict[str, tuple[int, Integers]] = {}
        for kind in self.space.kinds:
            first, *others = self.space.of_kind(kind)
            if not others and first not in joined:
                order = np.argsort(self.sensitivity.single[first][::-1], kind="stable")
                found[kind] = first, len(order) - 1 - order
        return found

    def sums(self, vectors: Vectors) -> dict[str, Floats]:
        """Summed sensitivity of each kind [policies]; none inside a left-out block."""
        columns = self.space.canonical(vectors).T
        found = {kind: np.zeros(len(vectors)) for kind in self.space.kinds}
        for variable, single, chosen in zip(
            self.space.variables, self.sensitivity.single, columns, strict=True
        ):
            found[variable.kind] += single[chosen]
        for (one, other), table in self.sensitivity.pairwise:
            found[self.space.variables[other].kind] += table[columns[one], columns[other]]
        return found

    def columns(self, vectors: Vectors) -> tuple[Floats, Floats]:
        """The model's columns [policies, columns], and what each is expected to be worth [columns].

        A column of a kind of many parts is its sum, worth 1 a point of it. One of a step between
        two options is 1 from there on, and worth their difference of sensitivity.
        """
        parts, worths = [np.zeros((len(vectors), 0))], [np.zeros(0)]
        steps = self.steps
        for kind, sums in self.sums(vectors).items():
            if kind not in steps:
                parts.append(sums[:, None])
                worths.append(np.ones(1))
                continue
            variable, order = steps[kind]
            rank = np.argsort(order)[vectors[:, variable]]
            parts.append((rank[:, None] > np.arange(len(order) - 1)).astype(np.float64))
            worths.append(np.diff(self.sensitivity.single[variable][order]))
        return np.concatenate(parts, axis=1), np.concatenate(worths)


@dataclass(frozen=True, slots=True)
class JointError:
    """A fitted model of the loss.

    Attributes:
        kinds: Its columns.
        base: Loss of the dense network, as far as it can be told.
        weights: Loss of each column, 0 or more.
        error: What it misses of a candidate: root mean square of those that it was fitted to, and
            what was taken for noise, for few candidates are fitted too well.
    """

    kinds: KindSums
    base: float
    weights: Floats
    error: float

    def predict(self, vectors: Vectors) -> Floats:
        """Losses [policies] of vectors [policies, variables]."""
        columns, _ = self.kinds.columns(vectors)
        losses: Floats = self.base + columns @ self.weights
        return losses

    def sensitivity(self, factors: dict[str, float] | None = None) -> Sensitivity:
        """What each choice adds to the loss: additive, as the solver takes it.

        Args:
            factors: Kinds that are to be weighed heavier or lighter than the fit says.
        """
        space, given = self.kinds.space, self.kinds.sensitivity
        steps, single, slopes, place = self.kinds.steps, list(given.single), dict[str, float](), 0
        for kind in space.kinds:
            factor = (factors or {}).get(kind, 1.0)
            if kind in steps:
                variable, order = steps[kind]
                found = np.zeros(len(order))
                risen = factor * np.cumsum(self.weights[place : place + len(order) - 1])
                found[order[1:]] = risen
                single[variable] = found
                place += len(order) - 1
                continue
            slopes[kind] = factor * float(self.weights[place])
            place += 1
            for variable in space.of_kind(kind):
                single[variable] = slopes[kind] * given.single[variable]
        return Sensitivity(tuple(single), given.images, _weighed(space, given.pairwise, slopes))


def fit_joint_error(
    kinds: KindSums, vectors: Vectors, losses: Floats, shares: Sequence[float] | None = None
) -> JointError:
    """Fit the model to what candidates scored.

    Args:
        kinds: Its columns.
        vectors: Candidates [candidates, variables], one or more.
        losses: Of each, smaller is better [candidates].
        shares: Of the inputs that each was scored on; all where None.
    """
    columns, worths = kinds.columns(vectors)
    above = losses - losses.min()
    near = float(np.quantile(above, 1 / 3)) or float(above.mean()) or 1.0
    counts = 1.0 / (1.0 + (above / near) ** 2)
    counts *= 1.0 if shares is None else np.asarray(shares)
    counts /= counts.sum()
    total = columns @ worths
    mean, spread = _moments(losses, counts)
    middle, width = _moments(total, counts)
    common = float((counts * (losses - mean) * (total - middle)).sum()) / width**2
    common = max(common, _LEAST_SLOPE * spread / width)
    weights = _solve(columns, worths * common, losses, counts * len(losses), spread)
    base = float((counts * (losses - columns @ weights)).sum())
    missed = losses - base - columns @ weights
    free = max(len(losses) - 2, 1) / len(losses)
    error = float(np.sqrt((counts * missed**2).sum() / free + (_NOISE * spread) ** 2))
    return JointError(kinds, base, weights, error)


def _solve(
    columns: Floats, expected: Floats, losses: Floats, counts: Floats, spread: float
) -> Floats:
    """Weights of 0 or more, each pulled to what is expected of it by as much as that is."""
    noise = _NOISE * spread
    slack = _STEP_SLACK * float(expected.mean()) if len(expected) else 0.0
    pull = np.diag(noise / np.maximum(expected + slack, 1e-30))
    root = np.sqrt(counts)[:, None]
    rows = np.concatenate([root * columns, pull])
    base = np.concatenate([root, np.zeros((len(pull), 1))])
    right = np.concatenate([root[:, 0] * losses, pull @ expected])
    # A base of either sign: two columns that are 0 or more.
    found, _ = nnls(np.concatenate([rows, base, -base], axis=1), right, maxiter=100 * rows.size)
    weights: Floats = found[: columns.shape[1]]
    return weights


def _moments(values: Floats, counts: Floats) -> tuple[float, float]:
    """Weighted mean and standard deviation; the latter 1 where all are alike."""
    mean = float((counts * values).sum())
    spread = float(np.sqrt((counts * (values - mean) ** 2).sum()))
    return mean, spread if spread > 1e-12 * max(1.0, abs(mean)) else 1.0


def _weighed(space: Space, pairwise: Pairwise, slopes: dict[str, float]) -> Pairwise:
    return tuple((pair, table * slopes[space.variables[pair[1]].kind]) for pair, table in pairwise)
