"""Fitting the time model to whole networks, with priors that let few timings suffice.

A unit is one (device, runtime, precision, threads). Its parameters are drawn around those of its
family of units: one scale, a deviation per kind of coefficient, and smaller ones per class. The
family's mean and its units are fitted in turn (coordinate ascent on the posterior).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from automl.errors import MeasureError
from automl.latency import roofline
from automl.latency.features import CLASSES, Floats, OperatorFeatures, operator_features
from automl.latency.keys import OpKey

Unit = TypeVar("Unit", bound=Hashable)
_DEPTHWISE = CLASSES.index("depthwise")


@dataclass(frozen=True, slots=True)
class Networks:
    """Timed networks: their operators one after the other, and one time each.

    Attributes:
        ops: Operators of all networks.
        network: Which network each operator belongs to, ascending.
        seconds: Measured time per network.
        constant: 1 where the time holds the cost of a whole call, 0 for operators timed alone.
    """

    ops: OperatorFeatures
    network: NDArray[np.intp]
    seconds: Floats
    constant: Floats

    def take(self, chosen: NDArray[np.bool_]) -> Networks:
        """The networks where `chosen` is true."""
        kept = chosen[self.network]
        ops = OperatorFeatures(
            *(getattr(self.ops, field.name)[kept] for field in fields(OperatorFeatures))
        )
        renumbered = (np.cumsum(chosen) - 1)[self.network[kept]]
        return Networks(ops, renumbered, self.seconds[chosen], self.constant[chosen])


def networks(
    keys: Sequence[Sequence[OpKey]],
    seconds: Sequence[float],
    channel_steps: tuple[int, int],
    whole: bool = True,
) -> Networks:
    """Timed networks from their operators; `whole` says that a call's constant is in the times."""
    lengths = [len(one) for one in keys]
    return Networks(
        operator_features([key for one in keys for key in one], channel_steps),
        np.repeat(np.arange(len(keys)), lengths),
        np.asarray(seconds, dtype=np.float64),
        np.full(len(keys), float(whole)),
    )


@dataclass(frozen=True, slots=True)
class Spread:
    """Prior standard deviations of the logarithms of a unit's coefficients around its family's.

    Attributes:
        scale: One factor on all times.
        kind: One factor on each of: overheads, rates, traffic.
        own: Each class's overhead, rate and traffic by itself.
        half: Each half size.
        noise: Relative error of one timing that the model should not chase.
    """

    scale: float = 1.0
    kind: float = 0.5
    own: float = 0.2
    half: float = 0.3
    noise: float = 0.1


def covariance(spread: Spread) -> Floats:
    """(PARAMETERS, PARAMETERS) prior covariance of a unit around its family."""
    size = roofline.PARAMETERS
    times = np.ones(size)
    times[roofline.HALF] = times[roofline.HALF_DEPTHWISE] = 0.0
    result = spread.scale**2 * np.outer(times, times)
    for kind in (
        np.r_[roofline.OVERHEAD, roofline.CONSTANT],
        np.r_[roofline.RATE],
        np.r_[roofline.TRAFFIC, roofline.WEIGHTS],
    ):
        member = np.zeros(size)
        member[kind] = 1.0
        result += spread.kind**2 * np.outer(member, member)
    own = np.where(times > 0, spread.own, spread.half)
    return result + np.diag(own**2)


def _slopes(parameters: Floats, data: Networks) -> tuple[Floats, Floats]:
    """Predicted seconds per network, and (networks, PARAMETERS) slopes along the logarithms."""
    count, classes = len(data.seconds), len(CLASSES)
    parts = roofline.evaluate(parameters, data.ops)
    slopes = np.zeros((count, roofline.PARAMETERS))
    cell = data.network * classes + data.ops.kind
    for place, values in (
        (roofline.OVERHEAD, parts.overhead),
        (roofline.RATE, parts.rate),
        (roofline.TRAFFIC, parts.traffic),
    ):
        slopes[:, place] = np.bincount(cell, values, count * classes).reshape(count, classes)
    slopes[:, roofline.WEIGHTS] = np.bincount(data.network, parts.weights, count)
    deep = data.ops.kind == _DEPTHWISE
    for place, chosen in ((roofline.HALF, ~deep), (roofline.HALF_DEPTHWISE, deep)):
        for side in range(3):
            values = parts.halves[side] * chosen
            slopes[:, place.start + side] = np.bincount(data.network, values, count)
    constant = np.exp(parameters[roofline.CONSTANT]) * data.constant
    slopes[:, roofline.CONSTANT] = constant
    return np.bincount(data.network, parts.seconds, count) + constant, slopes


def network_seconds(parameters: Floats, data: Networks) -> Floats:
    """Predicted seconds of each network, its constant included."""
    return _slopes(parameters, data)[0]


def class_shares(parameters: Floats, data: Networks) -> Floats:
    """(networks, classes) share of each network's predicted time that each class takes."""
    count, classes = len(data.seconds), len(CLASSES)
    seconds = roofline.evaluate(parameters, data.ops).seconds
    cell = data.network * classes + data.ops.kind
    sums = np.bincount(cell, seconds, count * classes).reshape(count, classes)
    shares: Floats = sums / sums.sum(axis=1, keepdims=True)
    return shares


def fit_unit(data: Networks, mean: Floats, prior: Floats, noise: float) -> Floats:
    """Parameters of one unit: the most probable ones given its timings and a Gaussian prior.

    Args:
        data: Timed networks; none leaves the prior's mean.
        mean: (PARAMETERS,) prior mean.
        prior: (PARAMETERS, PARAMETERS) prior covariance.
        noise: Relative error of a timing.

    Raises:
        MeasureError: The search for them ends before it has converged.
    """
    if len(data.seconds) == 0:
        return mean
    root: Floats = np.asarray(np.linalg.cholesky(prior), dtype=np.float64)
    target = np.log(data.seconds)

    def residuals(white: Floats) -> Floats:
        predicted = network_seconds(mean + root @ white, data)
        return np.concatenate([(np.log(predicted) - target) / noise, white])

    def jacobian(white: Floats) -> Floats:
        predicted, slopes = _slopes(mean + root @ white, data)
        by_white: Floats = (slopes / predicted[:, None]) @ root / noise
        return np.vstack([by_white, np.eye(len(white))])

    # Start at the right scale: far from it the slopes of whole kinds of coefficients vanish.
    shift = np.zeros(len(mean))
    shift[: roofline.HALF.start] = np.median(target - np.log(network_seconds(mean, data)))
    shift[roofline.CONSTANT] = shift[0]
    start = np.linalg.solve(root, shift)
    found = least_squares(
        residuals,
        start,
        jac=jacobian,  # pyright: ignore[reportArgumentType] (takes functions too)
        max_nfev=100,
        xtol=1e-9,
        ftol=1e-9,
    )
    if not found.success:
        raise MeasureError(
            f"no fit of {len(data.seconds)} networks' times was found: {found.message}"
        )
    parameters: Floats = mean + root @ np.asarray(found.x)
    return parameters


@dataclass(frozen=True, slots=True)
class FamilyPrior:
    """What is believed of a family of units before any timing.

    Attributes:
        mean: (PARAMETERS,) logarithms, in units of each device's nominal rates.
        around_mean: How far the family's true mean may lie from `mean`.
        around_family: How far a unit may lie from its family.
        rounds: Passes of fitting the units and then their mean.
    """

    mean: Floats
    around_mean: Spread
    around_family: Spread
    rounds: int = 3


def fit_family(
    data: Mapping[Unit, Networks], nominal: Mapping[Unit, Floats], prior: FamilyPrior
) -> dict[Unit, Floats]:
    """Parameters of every unit, each with its own timings and those of its family.

    Args:
        data: Timed networks per unit; a unit without any gets the family's mean.
        nominal: (PARAMETERS,) per unit: what is added to the family's mean for this device, the
            logarithms of its published rate and bandwidth.
        prior: What is believed before any timing.
    """
    outer, inner = covariance(prior.around_mean), covariance(prior.around_family)
    outer_precision, inner_precision = np.linalg.inv(outer), np.linalg.inv(inner)
    noise = prior.around_family.noise
    mean, spread = prior.mean, outer + inner
    timed = [unit for unit, networks in data.items() if len(networks.seconds)]
    for _ in range(prior.rounds):
        units = [fit_unit(data[u], mean + nominal[u], spread, noise) - nominal[u] for u in timed]
        weighted = outer_precision @ prior.mean + inner_precision @ np.sum(units, axis=0)
        mean = np.linalg.solve(outer_precision + len(timed) * inner_precision, weighted)
        spread = inner
    return {unit: fit_unit(data[unit], mean + nominal[unit], inner, noise) for unit in data}
