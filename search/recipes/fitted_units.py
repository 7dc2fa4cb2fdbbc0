"""Fits every unit that a shipped table needs and validates it on families left out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from device_baselines import left_out as baseline_left_out
from device_baselines import linear_per_operator, macs_only
from device_data import Timed, UnitKey, read_networks, read_operators
from device_errors import FitAccuracy, accuracy, between_sources, class_errors, stated_error
from device_fits import LeftOut, Units, as_networks, fit_units, fitted_unit, kernels, left_out
from table_specs import SPECS

from automl.latency import fit
from automl.latency.features import Floats
from automl.latency.predict import Unit

#: CPUs whose operators TVM's tuners timed; the four share a fit.
TVM_BOARDS = ("rk3399", "rpi3b", "snapdragon835", "kirin970")


@dataclass(frozen=True, slots=True)
class Fitted:
    """A unit with its coefficients and what is known of their error.

    Attributes:
        unit: As a table's header keeps it.
        timed: What it was fitted to.
        held: Seconds of each, from fits which saw none of its family, or none of its source.
        stated: The error that covers both.
        in_sample, held_out: Accuracy on the timings it was fitted to, and on families left out.
        baselines: Accuracy on families left out: proportional to MACs, linear per operator type.
    """

    unit: Unit
    timed: Sequence[Timed]
    held: LeftOut
    stated: float
    in_sample: FitAccuracy
    held_out: FitAccuracy
    baselines: tuple[FitAccuracy, FitAccuracy]

    @property
    def sources(self) -> int:
        """Repositories that timings come from."""
        return len({one.citation.repository for one in self.timed})

    @property
    def families(self) -> int:
        """Families that were left out in turn."""
        return len({one.families[0] for one in self.timed})


def fit_group(units: Units, mean: Floats | None = None) -> tuple[dict[UnitKey, Fitted], Floats]:
    """Fits units that share a runtime and kind of precision, and validates each.

    `mean` is what the runtime's units are believed to lie around. The mean that is found comes back
    beside the units.
    """
    data = {unit: as_networks(unit, timed) for unit, timed in units.items()}
    parameters, found = fit_units(data, mean)
    held = left_out(units, mean)
    between = between_sources(units, held)
    fitted = {
        unit: _fitted(unit, units[unit], data[unit], parameters[unit], held[unit], between)
        for unit in units
    }
    return fitted, found


def _fitted(
    unit: UnitKey,
    timed: Sequence[Timed],
    data: fit.Networks,
    parameters: Floats,
    held: LeftOut,
    between: float,
) -> Fitted:
    measured = data.seconds
    stated = stated_error(timed, held, between)
    errors = class_errors(np.abs(held.by_family / measured - 1), held.shares, stated)
    return Fitted(
        fitted_unit(unit, parameters, errors, timed),
        timed,
        held,
        stated,
        accuracy(fit.network_seconds(parameters, data), measured),
        accuracy(held.by_family, measured),
        (
            accuracy(baseline_left_out(timed, macs_only), measured),
            accuracy(baseline_left_out(timed, linear_per_operator), measured),
        ),
    )


def groups(folder: Path) -> dict[tuple[str, str], Units]:
    """The units of the shipped tables, those together that share a runtime's kernels.

    They are named by runtime and kind of kernels.
    """
    networks, operators = read_networks(folder), read_operators(folder)
    found: dict[tuple[str, str], dict[UnitKey, Sequence[Timed]]] = {}
    for unit in (unit for spec in SPECS for unit in spec.units):
        found.setdefault((unit.runtime, kernels(unit)), {})[unit] = networks[unit]
    for unit in networks:  # what is not shipped tells of what is
        if unit.runtime == "tensorrt" and unit.precision == "int8" and "orin" in unit.device:
            found["tensorrt", "int8"][unit] = networks[unit]
    found["tvm-autotvm", "float"] = {
        unit: timed
        for unit, timed in operators.items()
        if unit.runtime == "tvm-autotvm" and unit.device in TVM_BOARDS
    }
    return dict(found)


def fit_all(folder: Path, runtimes: Collection[str] = ()) -> dict[UnitKey, Fitted]:
    """Every unit that a shipped table needs, or those of some runtimes.

    INT8 on TensorRT has few timings: it is believed to lie, in shares of its own peaks, around
    where half precision does.
    """
    found: dict[UnitKey, Fitted] = {}
    means: dict[tuple[str, str], Floats] = {}
    for (runtime, kind), units in groups(folder).items():
        if runtimes and runtime not in runtimes:
            continue
        start = means["tensorrt", "float"] if (runtime, kind) == ("tensorrt", "int8") else None
        fitted, means[runtime, kind] = fit_group(units, start)
        found |= fitted
    return found
