"""Fits every unit that a shipped table needs and validates it on families left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from device_baselines import left_out as baseline_left_out
from device_baselines import linear_per_operator, macs_only
from device_data import Timed, UnitKey, read_networks, read_operators
from device_fits import (
    FitAccuracy,
    Units,
    accuracy,
    as_networks,
    class_errors,
    fit_units,
    fitted_unit,
    left_out,
)
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
        predicted: Seconds of each, from fits which saw none of its family.
        in_sample, held_out: Accuracy on the timings it was fitted to, and on families left out.
        baselines: Accuracy on families left out: proportional to MACs, linear per operator type.
    """

    unit: Unit
    timed: Sequence[Timed]
    predicted: Floats
    in_sample: FitAccuracy
    held_out: FitAccuracy
    baselines: tuple[FitAccuracy, FitAccuracy]

    @property
    def families(self) -> int:
        """Families that were left out in turn."""
        return len({one.families[0] for one in self.timed})


def fit_group(units: Units) -> dict[UnitKey, Fitted]:
    """Fits units that share a runtime and kind of precision, and validates each."""
    data = {unit: as_networks(unit, timed) for unit, timed in units.items()}
    parameters = fit_units(data)
    predicted, shares = left_out(units)
    return {
        unit: _fitted(
            unit, units[unit], data[unit], parameters[unit], predicted[unit], shares[unit]
        )
        for unit in units
    }


def _fitted(
    unit: UnitKey,
    timed: Sequence[Timed],
    data: fit.Networks,
    parameters: Floats,
    predicted: Floats,
    shares: Floats,
) -> Fitted:
    measured = data.seconds
    errors = class_errors(np.abs(predicted / measured - 1), shares)
    return Fitted(
        fitted_unit(unit, parameters, errors, timed),
        timed,
        predicted,
        accuracy(fit.network_seconds(parameters, data), measured),
        accuracy(predicted, measured),
        (
            accuracy(baseline_left_out(timed, macs_only), measured),
            accuracy(baseline_left_out(timed, linear_per_operator), measured),
        ),
    )


def groups(folder: Path) -> list[Units]:
    """The units of the shipped tables, those together that share a runtime and kind of number."""
    networks, operators = read_networks(folder), read_operators(folder)
    found: dict[tuple[str, bool], dict[UnitKey, Sequence[Timed]]] = {}
    for unit in (unit for spec in SPECS for unit in spec.units):
        found.setdefault((unit.runtime, unit.precision == "int8"), {})[unit] = networks[unit]
    found["tvm-autotvm", False] = {
        unit: timed
        for unit, timed in operators.items()
        if unit.runtime == "tvm-autotvm" and unit.device in TVM_BOARDS
    }
    return list(found.values())


def fit_all(folder: Path) -> dict[UnitKey, Fitted]:
    """Every unit that a shipped table needs, fitted with the others of its runtime."""
    return {unit: one for group in groups(folder) for unit, one in fit_group(group).items()}
