"""Fits the units of the device data, with and without each family and source.

The prior means and spreads below are beliefs about runtimes and chips, not measurements. They were
settled while looking at leave-family-out errors of the same data; they are few, shared by all
units of a runtime, and no network has one of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from chips import BYTES, WINOGRAD, peak
from device_data import Timed, UnitKey

from automl.latency import fit, roofline
from automl.latency.features import CLASSES, Floats, Spill, operator_features, smallest
from automl.latency.predict import Unit

#: Threads share the memory: a prior, four threads move 1.5 times what one does.
_THREADS_TRAFFIC = 0.3
#: Rows of a family beyond so many count no more together: they err together too.
ROWS_OF_A_FAMILY = 10
#: What a network counts of which not all operators are listed.
_PARTLY_LISTED = 0.5
#: What a timing counts that is a mean of few calls from Python.
_FEW_RUNS = 0.5

#: What the programs that timed add of their own. Python's call and copies cost hundreds of
#: microseconds; where kernels are slow to start, every operator costs it some.
_PYTHON = fit.SourceBelief(factor=0.2, call_seconds=2e-4, operator_seconds=3e-6)
_ENGINE = fit.SourceBelief(factor=0.10, call_seconds=6e-5, operator_seconds=1e-7)
_PLAIN = fit.SourceBelief(factor=0.08, call_seconds=1e-6, operator_seconds=1e-9)
_SOURCES = {
    "NVIDIA-AI-IOT/torch2trt": _PYTHON,
    "kentaroy47/benchmark-FP32-FP16-INT8-with-TensorRT": _PYTHON,
    "open-mmlab/mmdeploy": _PYTHON,
    "the0807/YOLOv8-ONNX-TensorRT": _PYTHON,
    "NVIDIA-AI-IOT/tf_to_trt_image_classification": _PYTHON,
    "justincdavis/trtutils": _ENGINE,
}


def source_belief(repository: str) -> fit.SourceBelief:
    """What a source may add to a device's own time; Ultralytics times from Python."""
    if "ultralytics" in repository:
        return _PYTHON
    return _SOURCES.get(repository, _PLAIN)


@dataclass(frozen=True, slots=True)
class Belief:
    """A runtime's prior: what operators take beyond the chip's peaks, in shares of those.

    Attributes:
        half, half_depthwise: Half sizes (reduction, outputs, positions).
        slowness: Factor on the seconds per MAC, per class.
        traffic: Factor on the seconds per element, per class.
        overhead_seconds, constant_seconds: Of one operator, of one call.
        mac_share, byte_share: Time per MAC and per byte in units of the nominal peak's.
        telling: Units that tell of the runtime's mean.
        free_scale: Whether clocks may lie far from the nominal ones.
        weights3: Factor on the time per weight of 3x3 convolutions at stride 1.
        beyond_cache: (bytes of maps that caches hold, times that one beyond them counts more).
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
    weights3: float = 1.0
    beyond_cache: tuple[float, float] | None = None
    telling: float = 3.0
    free_scale: bool = True

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
        mean[roofline.WEIGHTS3] = np.log(self.byte_share * self.weights3)
        mean[roofline.HALF] = np.log(self.half)
        mean[roofline.HALF_DEPTHWISE] = np.log(self.half_depthwise)
        mean[roofline.CONSTANT] = np.log(self.constant_seconds)
        return fit.FamilyPrior(
            mean, self.around_mean, self.around_family, self.telling, self.free_scale
        )


_AROUND = fit.Spread(scale=0.7, kind=0.7, own=0.5, half=0.7)
#: ncnn's boards all time the same fourteen networks: what they tell of the mean is soon told.
_AROUND_NCNN = fit.Spread(scale=0.7, kind=0.35, own=0.25, half=0.35)

BELIEFS: dict[tuple[str, str], Belief] = {
    ("tensorrt", "float"): Belief(
        half=(16, 16, 64),
        half_depthwise=(3, 32, 32),
        slowness={"depthwise": 10.0, "depthwise_large": 10.0},
        traffic={},
        overhead={},
        overhead_seconds=5e-6,
        constant_seconds=1e-4,
        mac_share=2.0,
        byte_share=2.0,
        around_mean=_AROUND,
        around_family=fit.Spread(kind=0.5, own=0.2, half=0.15),
        free_scale=False,
    ),
    # TFLite runs grouped convolutions on its scalar reference kernel (tensorflow/lite/kernels/
    # conv.cc: "Grouped convolution is right now only supported on reference kernel"): no SIMD
    # lanes (4) and no register blocking (about 4).
    #
    # Element-wise operators stream: a third of what a convolution's reads cost.
    ("tflite", "float"): Belief(
        half=(8, 4, 16),
        half_depthwise=(3, 4, 8),
        slowness={"grouped": 12.0},
        traffic={"add": 0.3, "elementwise": 0.3, "activation": 0.3},
        overhead={},
        overhead_seconds=1e-5,
        constant_seconds=1e-4,
        mac_share=1.5,
        byte_share=4.0,
        around_mean=_AROUND,
        around_family=fit.Spread(kind=0.5, own=0.3, half=0.3, noise=0.08),
        beyond_cache=(2.5e5, 1.0),
        telling=100.0,
    ),
    # Winograd's algorithm saves 2.25 times the multiplications of a 3x3; 1.6 is left of it after
    # its transforms. Maps of up to a megabyte stay in these chips' caches; beyond it an element
    # takes four times as long. Where all elements counted alike, SqueezeNet-SSD's large maps were
    # predicted too quick on every board of fp32 and MobileNet's small ones too slow.
    ("ncnn", "float"): Belief(
        half=(32, 16, 32),
        half_depthwise=(3, 4, 16),
        slowness={"depthwise": 2.0, "depthwise_large": 2.0, "spatial3": 0.5},
        traffic={"pool": 2.0, "movement": 2.0},
        overhead={},
        overhead_seconds=3e-5,
        constant_seconds=1e-4,
        mac_share=1.8,
        byte_share=2.5,
        around_mean=_AROUND_NCNN,
        around_family=fit.Spread(kind=0.3, own=0.3, half=0.45, noise=0.2),
        weights3=4.0,
        beyond_cache=(1e6, 3.0),
        telling=1.0,
    ),
    ("tvm-autotvm", "float"): Belief(
        half=(8, 4, 16),
        half_depthwise=(3, 4, 8),
        slowness={},
        traffic={},
        overhead={},
        overhead_seconds=1e-5,
        constant_seconds=1e-6,
        mac_share=2.0,
        byte_share=2.0,
        around_mean=fit.Spread(scale=2.0, kind=1.5, own=0.7, half=1.0, start=0.7),
        around_family=fit.Spread(kind=0.5, own=0.3, half=0.3, noise=0.15),
        telling=100.0,
    ),
}
# Bytes are a quarter of floats: the phones' caches hold most maps, and errors were no lower.
BELIEFS["tflite", "int8"] = replace(BELIEFS["tflite", "float"], beyond_cache=None)
BELIEFS["tensorrt", "int8"] = BELIEFS["tensorrt", "float"]
# ncnn's int8: each output is quantized again, which costs as much as a long reduction; what has no
# scale (pooling, concatenation, additions) runs on floats, four bytes for one.
BELIEFS["ncnn", "int8"] = replace(
    BELIEFS["ncnn", "float"],
    half=(256, 16, 32),
    slowness={"depthwise": 2.0, "depthwise_large": 2.0},
    traffic=dict.fromkeys(("pool", "global_pool", "movement", "add"), 4.0),
)


# Half-precision kernels of ncnn keep more of Winograd's gain, and their weights are half as large.
BELIEFS["ncnn", "fp16"] = replace(
    BELIEFS["ncnn", "float"],
    slowness={"depthwise": 2.0, "depthwise_large": 2.0, "spatial3": 0.35},
    weights3=2.0,
)


# Without tensor cores arithmetic comes closer to its peak, and small layers fill it.
BELIEFS["tensorrt", "cuda"] = replace(
    BELIEFS["tensorrt", "float"],
    half=(8, 8, 32),
    slowness={"depthwise": 4.0, "depthwise_large": 4.0, "spatial3": 0.7},
    mac_share=1.4,
)


def kernels(unit: UnitKey) -> str:
    """Which of its runtime's kernels a unit runs: what shares a fit."""
    if unit.runtime == "ncnn":
        return {"fp32": "float"}.get(unit.precision, unit.precision)
    if unit.runtime == "tensorrt" and unit.device in ("jetson-nano", "jetson-tx2"):
        return "cuda"
    return "int8" if unit.precision == "int8" else "float"


def belief(unit: UnitKey) -> Belief:
    """The prior of the unit's kernels."""
    return BELIEFS[unit.runtime, kernels(unit)]


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


def spill(unit: UnitKey) -> Spill | None:
    """What the unit's maps cost beyond its caches."""
    found = belief(unit).beyond_cache
    return Spill(found[0] / BYTES[unit.precision], found[1]) if found else None


def nominal(unit: UnitKey) -> Floats:
    """(PARAMETERS,) what the device's published peaks add to its family's logarithms."""
    offsets, limit = np.zeros(roofline.PARAMETERS), peak(unit)
    offsets[roofline.RATE] = -np.log(limit.macs)
    memory = np.r_[roofline.TRAFFIC, roofline.WEIGHTS, roofline.WEIGHTS3]
    offsets[memory] = np.log(
        BYTES[unit.precision] / (limit.memory * limit.threads**_THREADS_TRAFFIC)
    )
    offsets[roofline.OVERHEAD] = offsets[roofline.CONSTANT] = -np.log(limit.hertz / 1e9)
    return offsets


def least(unit: UnitKey) -> Floats:
    """(PARAMETERS,) what coefficients cannot be below: the peaks of the device's chip."""
    found, limit = np.zeros(roofline.PARAMETERS), peak(unit)
    found[roofline.RATE] = 1 / limit.macs
    found[roofline.RATE.start + CLASSES.index("spatial3")] /= WINOGRAD
    found[np.r_[roofline.TRAFFIC, roofline.WEIGHTS, roofline.WEIGHTS3]] = (
        BYTES[unit.precision] / limit.memory
    )
    return found


Units = Mapping[UnitKey, Sequence[Timed]]


def as_networks(unit: UnitKey, timed: Sequence[Timed]) -> fit.Networks:
    """Timings of a unit in the form that is fitted; TVM's operators were timed alone."""
    sources = list(dict.fromkeys(one.citation.repository for one in timed))
    rows = Counter(one.families[0] for one in timed)
    found = fit.networks(
        [one.keys for one in timed],
        [one.seconds for one in timed],
        channel_steps(unit),
        whole=unit.runtime != "tvm-autotvm",
        pads=unit.runtime == "tflite",
        spill=spill(unit),
    )
    weight = [
        min(1.0, (ROWS_OF_A_FAMILY / rows[one.families[0]]) ** 0.5)
        * (1.0 if one.whole else _PARTLY_LISTED)
        * (_FEW_RUNS if source_belief(one.citation.repository) is _PYTHON else 1.0)
        for one in timed
    ]
    return replace(
        found,
        weight=np.array(weight),
        source=np.array([sources.index(one.citation.repository) for one in timed], dtype=np.intp),
        sources=tuple(source_belief(name) for name in sources),
    )


def fit_units(
    data: Mapping[UnitKey, fit.Networks], mean: Floats | None = None
) -> tuple[dict[UnitKey, Floats], Floats]:
    """Parameters of units that share a runtime, and their family's mean.

    `mean` is a prior mean in place of the runtime's own belief.
    """
    prior = belief(next(iter(data))).prior()
    if mean is not None:
        prior = replace(prior, mean=mean)
    return fit.fit_family(
        data, {unit: nominal(unit) for unit in data}, prior, {unit: least(unit) for unit in data}
    )


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Timings of a unit predicted by fits that did not see them.

    Attributes:
        by_family: (timings,) seconds from fits which saw no network of its family on any unit.
        by_source: (timings,) seconds from fits which saw no timing of its source; NaN where a unit
            has one source alone.
        shares: (timings, classes) shares of the time predicted by family.
    """

    by_family: Floats
    by_source: Floats
    shares: Floats


def left_out(units: Units, mean: Floats | None = None) -> dict[UnitKey, LeftOut]:
    """Each timing predicted by fits without its family, and by fits without its source."""
    data = {unit: as_networks(unit, timed) for unit, timed in units.items()}
    found = {
        unit: LeftOut(
            np.full(len(timed), np.nan),
            np.full(len(timed), np.nan),
            np.zeros((len(timed), len(CLASSES))),
        )
        for unit, timed in units.items()
    }
    for family in sorted({one.families[0] for timed in units.values() for one in timed}):
        seen = {u: np.array([family not in one.families for one in units[u]]) for u in units}
        fitted, _ = fit_units({u: data[u].take(seen[u]) for u in units}, mean)
        for unit, timed in units.items():
            test = np.array([family == one.families[0] for one in timed])
            held = data[unit].take(test)
            found[unit].by_family[test] = fit.network_seconds(fitted[unit], held)
            found[unit].shares[test] = fit.class_shares(fitted[unit], held)
    several = {u: one for u, one in data.items() if len(one.sources) > 1}
    for name in sorted({one.citation.repository for u in several for one in units[u]}):
        test = {u: np.array([one.citation.repository == name for one in units[u]]) for u in units}
        fitted, _ = fit_units({u: data[u].take(~test[u]) for u in units}, mean)
        for unit in several:
            held = data[unit].take(test[unit])
            found[unit].by_source[test[unit]] = fit.network_seconds(fitted[unit], held)
    return found


def fitted_unit(unit: UnitKey, parameters: Floats, errors: Floats, timed: Sequence[Timed]) -> Unit:
    """The unit as a predictor holds it."""
    keys = [key for one in timed for key in one.keys]
    steps = channel_steps(unit)
    return Unit(
        parameters,
        steps,
        errors,
        smallest(operator_features(keys, steps)),
        frozenset(key.op for key in keys),
        unit.runtime == "tflite",
        spill(unit),
    )
