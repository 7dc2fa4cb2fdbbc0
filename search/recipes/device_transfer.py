"""How good a new device's table is after a few whole-network timings and a known device's shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from device_data import Timed, UnitKey
from device_fits import as_networks

from automl.latency import fit
from automl.latency.features import Floats
from automl.latency.predict import Roofline, Unit
from automl.latency.transfer import few_shot

_PIXEL4, _PIXEL4_INT8 = (UnitKey("pixel4", "tflite", "1large", one) for one in ("fp32", "int8"))
#: (target, known device): the known one's coefficients were fitted without the target.
PAIRS = (
    (UnitKey("rpi4b", "ncnn", "1xbig", "fp32"), UnitKey("rpi3b+", "ncnn", "1xbig", "fp32")),
    (
        UnitKey("jetson-xavier-nx", "tensorrt", "", "fp16"),
        UnitKey("jetson-orin-nano", "tensorrt", "", "fp16"),
    ),
    (
        UnitKey("jetson-orin-nano", "tensorrt", "", "fp16"),
        UnitKey("jetson-agx-orin-64gb", "tensorrt", "", "fp16"),
    ),
    (UnitKey("s10", "tflite", "1large", "fp32"), _PIXEL4),
    (UnitKey("s10", "tflite", "1large", "int8"), _PIXEL4_INT8),
    (UnitKey("a03s", "tflite", "1large", "fp32"), _PIXEL4),
)
COUNTS = (1, 3, 5, 10)


@dataclass(frozen=True, slots=True)
class Shots:
    """Mean absolute relative error on families that were not timed, averaged over draws.

    Attributes:
        count: Timed networks, each of another family.
        draws: How often the timed networks were drawn.
        error: Of the calibrated predictor.
        scaled: Of the known device's predictor times one factor, the median of the same timings'.
        nothing: Of the known device's predictor as it is.
        stated: Mean of the errors that the calibration itself stated (leave-one-out).
    """

    count: int
    draws: int
    error: float
    scaled: float
    nothing: float
    stated: float


def shots(
    target: Sequence[Timed],
    unit: UnitKey,
    known: Unit,
    counts: Sequence[int],
    draws: int,
    seed: int,
) -> list[Shots]:
    """Calibrates on `count` networks of different families, tests on all other families."""
    families: dict[str, list[int]] = {
        name: [] for name in sorted({one.families[0] for one in target})
    }
    for place, one in enumerate(target):
        families[one.families[0]].append(place)
    data = as_networks(unit, target)
    like = Roofline({unit.precision: known})
    plain = fit.network_seconds(known.parameters, data)
    generator = np.random.default_rng(seed)
    found = []
    for count in [one for one in counts if one < len(families)]:
        results = []
        for _ in range(draws):
            names = generator.choice(list(families), count, replace=False)
            chosen = [int(generator.choice(families[name])) for name in names]
            held = np.array([one.families[0] not in names for one in target])
            calibrated = few_shot([(target[i].keys, target[i].seconds) for i in chosen], like)
            fitted = calibrated.predictor.units[unit.precision].parameters
            factor = np.exp(np.median(np.log(data.seconds[chosen] / plain[chosen])))
            results.append(
                (
                    _error(fit.network_seconds(fitted, data)[held], data.seconds[held]),
                    _error(factor * plain[held], data.seconds[held]),
                    _error(plain[held], data.seconds[held]),
                    calibrated.errors[unit.precision],
                )
            )
        found.append(Shots(count, draws, *map(float, np.mean(results, axis=0))))
    return found


def _error(predicted: Floats, measured: Floats) -> float:
    return float(np.mean(np.abs(predicted / measured - 1)))
