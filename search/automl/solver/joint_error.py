"""What kinds of choices do together, fitted to what candidates scored.

Sensitivities are measured one choice at a time. Their sums are fair among choices of one kind, and
less so between kinds: what a point of sensitivity costs differs between channels, blocks, the
resolution and bits. So a candidate's loss (minus its score) is modelled as

    loss = base + sum over kinds of map(summed sensitivity of the kind)

where the map is a slope of 0 or more for kinds of many parts, linear from the network's input to
its output (the refit of later layers compensates what is lost early), and any non-decreasing map
of the options for kinds of one part (the resolution). Both keep the problem additive, so that the
solver solves it exactly for a given fit. The fit is non-negative least squares with a pull towards
one slope for all kinds, so that few candidates suffice: the maximum a posteriori of a linear model.
Candidates near the best count most, because far from it scores saturate.

Source: CLADO and SPDY (Frantar and Alistarh, 2022, section 3.2) fit what the additive sum misses,
one coefficient a layer or a pair of layers; here it is two a kind, from the candidates that a
search scores anyway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import nnls

from automl.solver.bucket_elimination import Floats, Integers
from automl.space import Sensitivity, Space, Vectors

#: Standard deviation of what the model misses, in those of the losses.
_NOISE: Final = 0.1
#: The common slope is at least this, in standard deviations of loss and of summed sensitivity.
_LEAST_SLOPE: Final = 0.1
#: No weight is below this share of what is expected of it: with little known, a part that seems
#: free would be used up.
_LEAST_SHARE: Final = 0.2
#: A step between two options may be larger than expected by this share of the mean step.
_STEP_SLACK: Final = 0.25


#: Factors of a kind's sensitivity at the network's input and at its output, linear in between.
Slopes = tuple[float, float]


@dataclass(frozen=True, slots=True)
class KindSums:
    """The summed sensitivity of each kind of choice in a policy, as columns of a linear model.

    A kind of many parts has two columns: its sum counted from the input on and from the output on,
    each part by how near it is. What choices do together counts with the last. A kind of one
    part has a column for each step between its options in the order of their sensitivity.

    Attributes:
        space: The choices.
        sensitivity: Of each choice alone, and together.
        depths: Where each variable lies in the network, from 0 to 1 [variables].
    """

    space: Space
    sensitivity: Sensitivity
    depths: Floats

    @property
    def steps(self) -> dict[str, tuple[int, Integers]]:
        """Per kind of one part: its variable, and its options from the least sensitivity on."""
        joined = {together[-1] for together, _ in self.sensitivity.pairwise}
        found: dict[str, tuple[int, Integers]] = {}
        for kind in self.space.kinds:
            first, *others = self.space.of_kind(kind)
            if not others and first not in joined:
                order = np.argsort(self.sensitivity.single[first][::-1], kind="stable")
                found[kind] = first, len(order) - 1 - order
        return found

    def sums(self, vectors: Vectors) -> dict[str, Floats]:
        """Summed sensitivity of each kind [policies, 2], from the input on and from the output on.

        There is none inside a left-out block.
        """
        columns = self.space.canonical(vectors).T
        found = {kind: np.zeros((len(vectors), 2)) for kind in self.space.kinds}

        def add(variable: int, values: Floats) -> None:
            ends = np.array([1.0 - self.depths[variable], self.depths[variable]])
            found[self.space.variables[variable].kind] += values[:, None] * ends

        for variable, (single, chosen) in enumerate(
            zip(self.sensitivity.single, columns, strict=True)
        ):
            add(variable, single[chosen])
        for together, table in self.sensitivity.pairwise:
            add(together[-1], table[tuple(columns[each] for each in together)])
        return found

    def totals(self, vectors: Vectors) -> Floats:
        """Summed sensitivity of all choices [policies]."""
        total: Floats = np.sum([each.sum(axis=1) for each in self.sums(vectors).values()], axis=0)
        return total

    def columns(self, vectors: Vectors) -> tuple[Floats, Floats]:
        """The model's columns [policies, columns], and what each is expected to be worth [columns].

        Those of a kind of many parts are its sums, worth 1 a point. One of a step between two
        options is 1 from there on, and worth their difference of sensitivity.
        """
        parts, worths = [np.zeros((len(vectors), 0))], [np.zeros(0)]
        steps = self.steps
        for kind, sums in self.sums(vectors).items():
            if kind not in steps:
                parts.append(sums)
                worths.append(np.ones(2))
                continue
            variable, order = steps[kind]
            rank = np.argsort(order)[vectors[:, variable]]
            parts.append((rank[:, None] > np.arange(len(order) - 1)).astype(np.float64))
            worths.append(np.diff(self.sensitivity.single[variable][order]))
        return np.concatenate(parts, axis=1), np.concatenate(worths)

    def weighed(self, slopes: Mapping[str, Slopes]) -> Sensitivity:
        """The sensitivity of each choice by the factors of its kind, 1 where it has none."""
        given, weights = self.sensitivity, list[float]()
        for variable, depth in zip(self.space.variables, self.depths.tolist(), strict=True):
            first, last = slopes.get(variable.kind, (1.0, 1.0))
            weights.append(first * (1.0 - depth) + last * depth)
        single = tuple(row * weight for row, weight in zip(given.single, weights, strict=True))
        pairwise = tuple((some, table * weights[some[-1]]) for some, table in given.pairwise)
        return Sensitivity(single, given.images, pairwise)


@dataclass(frozen=True, slots=True)
class JointError:
    """A fitted model of the loss.

    Attributes:
        kinds: Its columns.
        base: Loss of the dense network, as far as it can be told.
        weights: Loss of each column, 0 or more.
        error: What it misses of a candidate: root mean square of those that it was fitted to, and
            what was taken for noise, for few candidates are fitted too well.
        covariance: Of the weights, as if they could be below 0 [columns, columns].
    """

    kinds: KindSums
    base: float
    weights: Floats
    error: float
    covariance: Floats

    def predict(self, vectors: Vectors) -> Floats:
        """Losses [policies] of vectors [policies, variables]."""
        columns, _ = self.kinds.columns(vectors)
        losses: Floats = self.base + columns @ self.weights
        return losses

    def doubt(self, vectors: Vectors, other: Vectors) -> Floats:
        """Standard deviations of how far predictions [policies] are from that of one vector."""
        columns, _ = self.kinds.columns(np.concatenate([vectors, other[None]]))
        apart = columns[:-1] - columns[-1]
        variances = np.einsum("pi,ij,pj->p", apart, self.covariance, apart)
        doubts: Floats = np.sqrt(np.maximum(variances, 0.0))
        return doubts

    def sensitivity(self, factors: Mapping[str, Slopes] | None = None) -> Sensitivity:
        """What each choice adds to the loss: additive, as the solver takes it.

        Args:
            factors: Kinds of many parts that are to be weighed heavier or lighter than the fit
                says.
        """
        steps, slopes, place = self.kinds.steps, dict[str, Slopes](), 0
        risen: dict[int, Floats] = {}
        for kind in self.kinds.space.kinds:
            if kind in steps:
                variable, order = steps[kind]
                risen[variable] = np.zeros(len(order))
                end = place + len(order) - 1
                risen[variable][order[1:]] = np.cumsum(self.weights[place:end])
                place = end
                continue
            first, last = (factors or {}).get(kind, (1.0, 1.0))
            slopes[kind] = first * self.weights[place], last * self.weights[place + 1]
            place += 2
        found = self.kinds.weighed(slopes)
        single = tuple(risen.get(place, row) for place, row in enumerate(found.single))
        return Sensitivity(single, found.images, found.pairwise)


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
    weights, covariance = _solve(columns, worths * common, losses, counts * len(losses), spread)
    base = float((counts * (losses - columns @ weights)).sum())
    missed = losses - base - columns @ weights
    free = max(len(losses) - 2, 1) / len(losses)
    error = float(np.sqrt((counts * missed**2).sum() / free + (_NOISE * spread) ** 2))
    return JointError(kinds, base, weights, error, covariance)


def _solve(
    columns: Floats, expected: Floats, losses: Floats, counts: Floats, spread: float
) -> tuple[Floats, Floats]:
    """Weights from a share of what is expected on, each pulled to that by as much as it is.

    The second is their covariance.
    """
    noise = _NOISE * spread
    slack = _STEP_SLACK * float(expected.mean()) if len(expected) else 0.0
    pull = np.diag(noise / np.maximum(expected + slack, 1e-30))
    root = np.sqrt(counts)[:, None]
    rows = np.concatenate([root * columns, pull])
    base = np.concatenate([root, np.zeros((len(pull), 1))])
    least = _LEAST_SHARE * expected
    right = np.concatenate([root[:, 0] * (losses - columns @ least), pull @ (expected - least)])
    # A base of either sign: two columns that are 0 or more.
    found, _ = nnls(np.concatenate([rows, base, -base], axis=1), right, maxiter=100 * rows.size)
    count = columns.shape[1]
    whole = np.concatenate([rows, base], axis=1)
    inverse = np.linalg.pinv(whole.T @ whole).astype(np.float64)
    covariance: Floats = noise**2 * inverse[:count, :count]
    weights: Floats = least + found[:count]
    return weights, covariance


def _moments(values: Floats, counts: Floats) -> tuple[float, float]:
    """Weighted mean and standard deviation; the latter 1 where all are alike."""
    mean = float((counts * values).sum())
    spread = float(np.sqrt((counts * (values - mean) ** 2).sum()))
    return mean, spread if spread > 1e-12 * max(1.0, abs(mean)) else 1.0
