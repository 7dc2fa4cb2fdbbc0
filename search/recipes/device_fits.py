"""Fits the units of the device data, and says how wrong they are on families left out.

The prior means and spreads below are beliefs about runtimes and chips, not measurements. They were
settled while looking at leave-family-out errors of the same data; they are few, shared by all
units of a runtime, and no network has one of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from device_data import Timed, UnitKey
from scipy.optimize import nnls
from scipy.stats import rankdata

from automl.latency import fit, roofline
from automl.latency.features import CLASSES, Floats, operator_features, smallest
from automl.latency.predict import UNSEEN_ERROR, Unit

#: Published peaks per device, used as prior only: (MAC/s of the precision's arithmetic on one
#: core or the GPU, bytes/s of its memory, relative speed of a call). Power modes may lie below.
NOMINAL = {
    ("jetson-nano", "fp16"): (2.36e11, 25.6e9, 1.0),
    ("jetson-agx-xavier", "fp16"): (5.6e12, 137e9, 1.5),
    ("jetson-orin-nano", "fp16"): (5e12, 68e9, 1.5),
    ("jetson-agx-orin", "fp16"): (42e12, 205e9, 2.0),
    ("rpi3b+", "fp32"): (5.6e9, 3.6e9, 0.5),
    ("rpi3b+", "int8"): (11.2e9, 3.6e9, 0.5),
    ("rpi4b", "fp32"): (7.2e9, 12.8e9, 1.0),
    ("rpi4b", "int8"): (14.4e9, 12.8e9, 1.0),
    ("rpi5", "fp16"): (38.4e9, 17e9, 2.0),
    ("rpi5", "int8"): (38.4e9, 17e9, 2.0),
}
_BYTES = {"fp32": 4, "fp16": 2, "int8": 1}
#: Threads share the memory: a prior, four threads move 1.5 times what one does.
_THREADS_TRAFFIC = 0.3


@dataclass(frozen=True, slots=True)
class Belief:
    """A runtime's prior, in shares of the nominal peaks (of 1 MAC/s and 1 byte/s without them).

    Attributes:
        half, half_depthwise: Half sizes (reduction, outputs, positions).
        slowness: Factor on the seconds per MAC, per class.
        traffic: Factor on the seconds per element, per class.
        overhead_seconds, constant_seconds: Of one operator, of one call.
        mac_share, byte_share: Time per MAC and per byte in units of the nominal peak's.
        around_mean, around_family: How far the truth may lie.
    """

    half: tuple[float, float, float]
    half_depthwise: tuple[float, float, float]
    slowness: Mapping[str, float]
    traffic: Mapping[str, float]
    overhead: Mapping[str, float]
    overhead_seconds: float
    constant_seconds: float
    mac_share: float
    byte_share: float
    around_mean: fit.Spread
    around_family: fit.Spread

    def prior(self) -> fit.FamilyPrior:
        """As parameters of the time model."""
        mean = np.zeros(roofline.PARAMETERS)
        for place, level, factors in (
            (roofline.OVERHEAD, self.overhead_seconds, self.overhead),
            (roofline.RATE, self.mac_share, self.slowness),
            (roofline.TRAFFIC, self.byte_share, self.traffic),
        ):
            mean[place] = np.log([level * factors.get(name, 1.0) for name in CLASSES])
        mean[roofline.WEIGHTS] = np.log(self.byte_share)
        mean[roofline.HALF] = np.log(self.half)
        mean[roofline.HALF_DEPTHWISE] = np.log(self.half_depthwise)
        mean[roofline.CONSTANT] = np.log(self.constant_seconds)
        return fit.FamilyPrior(mean, self.around_mean, self.around_family)


_AROUND = fit.Spread(scale=0.7, kind=0.7, own=0.4, half=0.7)
#: Without nominal peaks the scale is free.
_FREE = fit.Spread(scale=5.0, kind=1.5, own=0.7, half=1.0)

BELIEFS: dict[tuple[str, str], Belief] = {
    ("tensorrt", "float"): Belief(
        half=(16, 16, 64),
        half_depthwise=(3, 32, 32),
        slowness={"depthwise": 10.0},
        traffic={},
        overhead={},
        overhead_seconds=1e-5,
        constant_seconds=1e-4,
        mac_share=2.0,
        byte_share=2.0,
        around_mean=_AROUND,
        around_family=fit.Spread(kind=0.5, own=0.1, half=0.15),
    ),
    # TFLite runs grouped convolutions on its scalar reference kernel (tensorflow/lite/kernels/
    # conv.cc: "Grouped convolution is right now only supported on reference kernel"): no SIMD
    # lanes (4) and no register blocking (about 4).
    #
    # Element-wise operators stream: a third of what a convolution's reads cost.
    ("tflite", "float"): Belief(
        half=(8, 4, 16),
        half_depthwise=(3, 4, 8),
        slowness={"grouped": 16.0},
        traffic={"add": 0.3, "elementwise": 0.3},
        overhead={},
        overhead_seconds=1e-5,
        constant_seconds=1e-4,
        mac_share=1e-10,
        byte_share=5e-10,
        around_mean=_FREE,
        around_family=fit.Spread(scale=3.0, kind=0.5, own=0.3, half=0.3, noise=0.08),
    ),
    # Winograd's algorithm saves 2.25 times the multiplications of a 3x3; 1.6 is left of it after
    # its transforms.
    ("ncnn", "float"): Belief(
        half=(32, 16, 32),
        half_depthwise=(3, 4, 16),
        slowness={"depthwise": 2.0, "spatial3": 1 / 1.6},
        traffic={"pool": 2.0, "movement": 2.0},
        overhead={},
        overhead_seconds=1e-5,
        constant_seconds=1e-4,
        mac_share=2.0,
        byte_share=2.0,
        around_mean=_AROUND,
        around_family=fit.Spread(kind=0.3, own=0.3, half=0.45),
    ),
    ("tvm-autotvm", "float"): Belief(
        half=(8, 4, 16),
        half_depthwise=(3, 4, 8),
        slowness={},
        traffic={},
        overhead={},
        overhead_seconds=1e-5,
        constant_seconds=1e-6,
        mac_share=1e-10,
        byte_share=5e-10,
        around_mean=_FREE,
        around_family=fit.Spread(scale=3.0, kind=0.5, own=0.3, half=0.3, noise=0.15),
    ),
}
BELIEFS["tflite", "int8"] = BELIEFS["tflite", "float"]
# ncnn's int8: each output is quantized again, which costs as much as a long reduction; what has no
# scale (pooling, concatenation, additions) runs on floats, four bytes for one.
BELIEFS["ncnn", "int8"] = replace(
    BELIEFS["ncnn", "float"],
    half=(256, 16, 32),
    slowness={"depthwise": 2.0},
    traffic=dict.fromkeys(("pool", "global_pool", "movement", "add"), 4.0),
)


def belief(unit: UnitKey) -> Belief:
    """The prior of the unit's runtime."""
    return BELIEFS[unit.runtime, "int8" if unit.precision == "int8" else "float"]


def threads(unit: UnitKey) -> int:
    """Threads, which the sources write before the name of the cores; 1 where they write none."""
    return int(unit.cores[0]) if unit.cores else 1


def channel_steps(unit: UnitKey) -> tuple[int, int]:
    """What channels are rounded up to, from the layouts of the runtimes' kernels, not fitted.

    Tensor cores take fp16 channels in eights, Maxwell's fp16 in pairs; ncnn packs 4 floats or 8
    smaller values; TFLite's matrix kernels write 8 channels at a time and read any number.
    """
    if unit.runtime == "tensorrt":
        return (2, 2) if unit.device == "jetson-nano" else (8, 8)
    if unit.runtime == "ncnn":
        return (4, 4) if unit.precision == "fp32" else (8, 8)
    return (1, 8) if unit.runtime == "tflite" else (1, 4)


def nominal(unit: UnitKey) -> Floats:
    """(PARAMETERS,) what the device's published peaks add to its family's logarithms."""
    offsets = np.zeros(roofline.PARAMETERS)
    if (unit.device, unit.precision) not in NOMINAL:
        return offsets
    macs, byte_rate, calls = NOMINAL[unit.device, unit.precision]
    workers = threads(unit)
    element = np.log(_BYTES[unit.precision] / (byte_rate * workers**_THREADS_TRAFFIC))
    offsets[roofline.RATE] = -np.log(macs * workers)
    offsets[roofline.TRAFFIC] = offsets[roofline.WEIGHTS] = element
    offsets[roofline.OVERHEAD] = offsets[roofline.CONSTANT] = -np.log(calls)
    return offsets


Units = Mapping[UnitKey, Sequence[Timed]]


def as_networks(unit: UnitKey, timed: Sequence[Timed]) -> fit.Networks:
    """Timings of a unit in the form that is fitted; TVM's operators were timed alone."""
    return fit.networks(
        [one.keys for one in timed],
        [one.seconds for one in timed],
        channel_steps(unit),
        whole=unit.runtime != "tvm-autotvm",
    )


def fit_units(data: Mapping[UnitKey, fit.Networks]) -> dict[UnitKey, Floats]:
    """Parameters of units that share a runtime."""
    first = next(iter(data))
    return fit.fit_family(data, {unit: nominal(unit) for unit in data}, belief(first).prior())


def left_out(units: Units) -> tuple[dict[UnitKey, Floats], dict[UnitKey, Floats]]:
    """Each timing predicted by fits which saw no network of its family, on any of the units.

    Returns:
        Per unit: predicted seconds, and (timings, classes) shares of the predicted time.
    """
    data = {unit: as_networks(unit, timed) for unit, timed in units.items()}
    seconds = {unit: np.full(len(timed), np.nan) for unit, timed in units.items()}
    shares = {unit: np.zeros((len(timed), len(CLASSES))) for unit, timed in units.items()}
    for family in sorted({one.families[0] for timed in units.values() for one in timed}):
        seen = {u: np.array([family not in one.families for one in units[u]]) for u in units}
        test = {u: np.array([family == one.families[0] for one in units[u]]) for u in units}
        fitted = fit_units({u: data[u].take(seen[u]) for u in units})
        for unit in units:
            held = data[unit].take(test[unit])
            seconds[unit][test[unit]] = fit.network_seconds(fitted[unit], held)
            shares[unit][test[unit]] = fit.class_shares(fitted[unit], held)
    return seconds, shares


@dataclass(frozen=True, slots=True)
class FitAccuracy:
    """How predictions compare with measurements: `error` is the mean absolute relative one."""

    error: float
    rank_correlation: float


def _rank_correlation(predicted: Floats, measured: Floats) -> float:
    return float(np.corrcoef(rankdata(predicted), rankdata(measured))[0, 1])


def accuracy(predicted: Floats, measured: Floats) -> FitAccuracy:
    """Mean absolute relative error, and Spearman's rank correlation (NaN below three timings)."""
    error = float(np.mean(np.abs(predicted / measured - 1)))
    if len(measured) < 3:
        return FitAccuracy(error, float("nan"))
    return FitAccuracy(error, _rank_correlation(predicted, measured))


def class_errors(relative: Floats, shares: Floats) -> Floats:
    """(classes,) errors which, weighted by shares of time, explain those of whole networks.

    Classes in no network get `UNSEEN_ERROR` or twice the mean error, whichever is more; none gets
    less than half the mean error.
    """
    mean = float(relative.mean())
    present = shares.max(axis=0) > 0
    ridge = 0.3 * np.sqrt(len(relative) / present.sum()) * np.eye(int(present.sum()))
    matrix = np.vstack([shares[:, present], ridge])
    extra, _ = nnls(
        matrix, np.concatenate([relative, ridge.sum(axis=1) * mean]) - matrix.sum(axis=1) * mean / 2
    )
    found = np.full(len(CLASSES), max(2 * mean, UNSEEN_ERROR))
    found[present] = mean / 2 + extra
    found[present] *= mean / max(float((shares[:, present] @ found[present]).mean()), 1e-12)
    return found


def fitted_unit(unit: UnitKey, parameters: Floats, errors: Floats, timed: Sequence[Timed]) -> Unit:
    """The unit as a predictor holds it."""
    keys = [key for one in timed for key in one.keys]
    steps = channel_steps(unit)
    least = smallest(operator_features(keys, steps))
    return Unit(parameters, steps, errors, least, frozenset(key.op for key in keys))
