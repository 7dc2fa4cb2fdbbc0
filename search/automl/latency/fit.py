"""Fitting the time model to whole networks, with priors that let few timings suffice.

A unit is one (device, runtime, precision, threads). Its parameters are drawn around those of its
family of units: one scale, a deviation per kind of coefficient, and smaller ones per class. The
family's mean and its units are fitted in turn (coordinate ascent on the posterior).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

import numpy as np
from scipy.optimize import least_squares

from automl.errors import MeasureError
from automl.latency import roofline
from automl.latency.features import CLASSES, Floats
from automl.latency.network_times import Networks, SourceBelief, networks

__all__ = [
    "FamilyPrior",
    "Networks",
    "Prior",
    "SourceBelief",
    "Spread",
    "class_shares",
    "covariance",
    "fit_family",
    "fit_unit",
    "network_seconds",
    "networks",
]
Unit = TypeVar("Unit", bound=Hashable)
#: How closely a coefficient may come to its limit: infinity is the greater of the two.
_HARDNESS = 6.0


@dataclass(frozen=True, slots=True)
class Spread:
    """Prior standard deviations of the logarithms of a unit's coefficients around its family's.

    Attributes:
        scale: One factor on all times.
        kind: One factor on each of: overheads, rates, traffic.
        own: Each class's rate and traffic by itself.
        start: Each class's overhead by itself.
        half: Each half size.
        noise: Relative error of one timing that the model should not chase.
    """

    scale: float = 1.0
    kind: float = 0.5
    own: float = 0.2
    start: float = 0.2
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
        np.r_[roofline.TRAFFIC, roofline.WEIGHTS, roofline.WEIGHTS3],
    ):
        member = np.zeros(size)
        member[kind] = 1.0
        result += spread.kind**2 * np.outer(member, member)
    own = np.where(times > 0, spread.own, spread.half)
    own[roofline.OVERHEAD] = spread.start
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
    moving = roofline.TRAFFIC.start + roofline.MOVEMENT
    slopes[:, moving] += np.bincount(data.network, parts.copies, count)
    slopes[:, roofline.WEIGHTS] = np.bincount(data.network, parts.weights, count)
    slopes[:, roofline.WEIGHTS3] = np.bincount(data.network, parts.weights3, count)
    for place, chosen in ((roofline.HALF, ~parts.deep), (roofline.HALF_DEPTHWISE, parts.deep)):
        for side in range(3):
            values = parts.halves[side] * chosen
            slopes[:, place.start + side] = np.bincount(data.network, values, count)
    constant = np.exp(parameters[roofline.CONSTANT]) * data.constant
    slopes[:, roofline.CONSTANT] = constant
    return np.bincount(data.network, parts.seconds, count) + constant, slopes


def network_seconds(parameters: Floats, data: Networks) -> Floats:
    """Predicted seconds of each network, its constant included, as no source in particular."""
    sums = np.bincount(data.network, roofline.seconds(parameters, data.ops), len(data.seconds))
    found: Floats = sums + np.exp(parameters[roofline.CONSTANT]) * data.constant
    return found


def class_shares(parameters: Floats, data: Networks) -> Floats:
    """(networks, classes) share of each network's predicted time that each class takes."""
    count, classes = len(data.seconds), len(CLASSES)
    seconds = roofline.seconds(parameters, data.ops)
    cell = data.network * classes + data.ops.kind
    sums = np.bincount(cell, seconds, count * classes).reshape(count, classes)
    shares: Floats = sums / sums.sum(axis=1, keepdims=True)
    return shares


@dataclass(frozen=True, slots=True)
class Prior:
    """A Gaussian on the logarithms of a unit's coefficients, those held above least values.

    Attributes:
        mean: (PARAMETERS,).
        covariance: (PARAMETERS, PARAMETERS).
        least: (PARAMETERS,) what no coefficient may be below, from a chip's peaks; 0 for no limit.
    """

    mean: Floats
    covariance: Floats
    least: Floats = field(default_factory=lambda: np.zeros(roofline.PARAMETERS))

    def held(self, free: Floats) -> Floats:
        """(PARAMETERS,) logarithms of coefficients held above `least`, from free ones."""
        return _held(free, self.least)[0]


def _held(free: Floats, least: Floats) -> tuple[Floats, Floats]:
    """Free logarithms held above limits, smoothly so that slopes stay; and the slopes of that."""
    limit = np.log(np.maximum(least, 1e-300))
    held: Floats = np.logaddexp(_HARDNESS * free, _HARDNESS * limit) / _HARDNESS
    slopes: Floats = np.exp(_HARDNESS * (free - held))
    return held, slopes


def fit_unit(data: Networks, prior: Prior, noise: float) -> Floats:
    """Parameters of one unit: the most probable ones given its timings and a Gaussian prior.

    Args:
        data: Timed networks; none leaves the prior's mean.
        prior: What is believed before.
        noise: Relative error of a timing.

    Returns:
        (PARAMETERS,) logarithms of the coefficients.

    Raises:
        MeasureError: The search for them ends before it has converged.
    """
    return prior.held(_fit(data, prior, noise))


def _fit(data: Networks, prior: Prior, noise: float) -> Floats:
    """(PARAMETERS,) logarithms of the coefficients, not yet held above the least ones."""
    if len(data.seconds) == 0:
        return prior.mean
    size = roofline.PARAMETERS
    root: Floats = np.asarray(np.linalg.cholesky(prior.covariance), dtype=np.float64)
    target, precision = np.log(data.seconds), data.weight / noise
    spreads = np.array([one.spreads for one in data.sources]).reshape(-1)
    levels = np.array([one.levels for one in data.sources]).reshape(-1)

    @lru_cache(maxsize=1)
    def predicted_at(content: bytes) -> tuple[Floats, Floats]:
        white = np.frombuffer(content)
        held, along = _held(prior.mean + root @ white[:size], prior.least)
        seconds, slopes = _slopes(held, data)
        slopes *= along
        seconds, slopes, own = _as_timed(seconds, slopes, levels + spreads * white[size:], data)
        return seconds, np.hstack([slopes @ root, own * spreads])

    def predict(white: Floats) -> tuple[Floats, Floats]:  # asked for times, then for slopes
        return predicted_at(white.tobytes())

    def residuals(white: Floats) -> Floats:
        return np.concatenate([(np.log(predict(white)[0]) - target) * precision, white])

    def jacobian(white: Floats) -> Floats:
        predicted, slopes = predict(white)
        return np.vstack([slopes * (precision / predicted)[:, None], np.eye(len(white))])

    found = least_squares(
        residuals,
        _start(data, prior, root, len(levels)),
        jac=jacobian,  # pyright: ignore[reportArgumentType] (takes functions too)
        max_nfev=1000,
        xtol=1e-7,
        ftol=1e-7,
    )
    if not found.success:
        raise MeasureError(
            f"no fit of {len(data.seconds)} networks' times was found: {found.message}"
        )
    free: Floats = prior.mean + root @ np.asarray(found.x)[:size]
    return free


def _start(data: Networks, prior: Prior, root: Floats, own: int) -> Floats:
    """At the right scale: far from it the slopes of whole kinds of coefficients vanish."""
    white: Floats = np.asarray(np.linalg.solve(root, _scale(data, prior)), dtype=np.float64)
    return np.concatenate([white, np.zeros(own)])


def _scale(data: Networks, prior: Prior) -> Floats:
    """(PARAMETERS,) one step on all times that brings the prior's mean to the timings' median."""
    shift: Floats = np.zeros(roofline.PARAMETERS)
    if len(data.seconds):
        ratio = data.seconds / network_seconds(prior.held(prior.mean), data)
        shift[: roofline.HALF.start] = np.log(np.median(ratio))
        shift[roofline.CONSTANT] = shift[roofline.WEIGHTS3] = shift[0]
    return shift


def _as_timed(
    seconds: Floats, slopes: Floats, own: Floats, data: Networks
) -> tuple[Floats, Floats, Floats]:
    """What each source would have said: times a factor, with costs of a call and of operators.

    Args:
        seconds, slopes: Of the networks, and along coefficients.
        own: (3 * sources,) logarithms: factor, seconds a call, seconds an operator of each.
        data: Networks, and which source timed each.

    Returns:
        Seconds, slopes along the coefficients, and (networks, 3 * sources) slopes along `own`.
    """
    along = np.zeros((len(seconds), len(own)))
    if not len(own):
        return seconds, slopes, along
    values, rows = np.exp(own).reshape(-1, 3)[data.source], np.arange(len(seconds))
    operators = np.bincount(data.network, minlength=len(seconds))
    factor, calls, each = values[:, 0], values[:, 1], values[:, 2] * operators
    along[rows, 3 * data.source] = factor * seconds
    along[rows, 3 * data.source + 1] = calls
    along[rows, 3 * data.source + 2] = each
    return factor * seconds + calls + each, factor[:, None] * slopes, along


@dataclass(frozen=True, slots=True)
class FamilyPrior:
    """What is believed of a family of units before any timing.

    Attributes:
        mean: (PARAMETERS,) logarithms, in units of each device's nominal rates.
        around_mean: How far the family's true mean may lie from `mean`.
        around_family: How far a unit may lie from its family.
        telling: Units beyond so many tell nothing more of the mean: they time the same networks.
        free_scale: Whether a unit's scale is taken from its timings before the mean is fitted, not
            from its nominal rates.
        rounds: Passes of fitting the mean and then the units.
    """

    mean: Floats
    around_mean: Spread
    around_family: Spread
    telling: float = 3.0
    free_scale: bool = True
    rounds: int = 2


def fit_family(
    data: Mapping[Unit, Networks],
    nominal: Mapping[Unit, Floats],
    prior: FamilyPrior,
    least: Mapping[Unit, Floats] | None = None,
) -> tuple[dict[Unit, Floats], Floats]:
    """Parameters of every unit, each with its own timings and those of its family.

    Args:
        data: Timed networks per unit; a unit without any gets the family's mean.
        nominal: (PARAMETERS,) per unit: what is added to the family's mean for this device, the
            logarithms of its published rate and bandwidth.
        prior: What is believed before any timing.
        least: (PARAMETERS,) per unit: what its coefficients cannot be below; None for no limits.

    Returns:
        Logarithms of each unit's coefficients, and the family's mean.
    """
    inner = covariance(prior.around_family)
    noise = prior.around_family.noise
    floors = least or dict.fromkeys(data, np.zeros(roofline.PARAMETERS))
    priors = {unit: Prior(prior.mean + nominal[unit], inner, floors[unit]) for unit in data}
    mean, free = prior.mean, {unit: priors[unit].mean for unit in data}
    if prior.free_scale:
        free = {unit: free[unit] + _scale(data[unit], priors[unit]) for unit in data}
    for _ in range(prior.rounds):
        members = [
            _Member(data[unit], free[unit] - mean, floors[unit])
            for unit in data
            if len(data[unit].seconds)
        ]
        mean = _fit_mean(members, prior, noise, mean)
        priors = {unit: Prior(mean + nominal[unit], inner, floors[unit]) for unit in data}
        free = {unit: _fit(data[unit], priors[unit], noise) for unit in data}
    return {unit: priors[unit].held(free[unit]) for unit in data}, mean


@dataclass(frozen=True, slots=True)
class _Member:
    """A unit of a family: its timings, how far it lies from the mean, and its limits."""

    data: Networks
    apart: Floats
    least: Floats


def _fit_mean(
    members: Sequence[_Member], prior: FamilyPrior, noise: float, start: Floats
) -> Floats:
    """The most probable mean of a family whose units' distances from it are held."""
    root: Floats = np.asarray(np.linalg.cholesky(covariance(prior.around_mean)), dtype=np.float64)
    target = np.concatenate([np.log(one.data.seconds) for one in members])
    # Units that time the same networks err alike: more of them do not tell more of the mean.
    noise *= max(1.0, len(members) / prior.telling) ** 0.5
    precision = np.concatenate([one.data.weight for one in members]) / noise

    @lru_cache(maxsize=1)
    def predicted_at(content: bytes) -> tuple[Floats, Floats]:
        mean = prior.mean + root @ np.frombuffer(content)
        found: list[tuple[Floats, Floats]] = []
        for one in members:
            held, along = _held(mean + one.apart, one.least)
            seconds, slopes = _slopes(held, one.data)
            slopes *= along
            own = np.array([source.levels for source in one.data.sources]).reshape(-1)
            found.append(_as_timed(seconds, slopes, own, one.data)[:2])
        slopes = np.vstack([each for _, each in found]) @ root
        return np.concatenate([each for each, _ in found]), slopes

    def residuals(white: Floats) -> Floats:
        seconds, _ = predicted_at(white.tobytes())
        return np.concatenate([(np.log(seconds) - target) * precision, white])

    def jacobian(white: Floats) -> Floats:
        seconds, slopes = predicted_at(white.tobytes())
        return np.vstack([slopes * (precision / seconds)[:, None], np.eye(len(white))])

    found = least_squares(
        residuals,
        np.linalg.solve(root, start - prior.mean),
        jac=jacobian,  # pyright: ignore[reportArgumentType] (takes functions too)
        max_nfev=60,
        xtol=1e-6,
        ftol=1e-6,
    )
    mean: Floats = prior.mean + root @ np.asarray(found.x)
    return mean
