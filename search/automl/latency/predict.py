"""Times of operators that were not measured, from the fitted coefficients in a table's header.

The coefficients are those of `automl.latency.roofline`, per precision. A table without them has
no predictor. Fused activations are not operators and cost nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from automl.documents import fault_of
from automl.errors import TableError
from automl.latency import roofline
from automl.latency.features import (
    CLASSES,
    PARENTS,
    Floats,
    OperatorFeatures,
    Spill,
    operator_features,
)
from automl.latency.keys import OpKey

#: Least relative error that is stated for an operator of a type that no source network holds.
UNSEEN_ERROR = 0.5

#: Times, half sizes and errors that can be: what is computed from several still fits a float.
Positive = Annotated[float, Field(ge=1e-30, le=1e15)]
NonNegative = Annotated[float, Field(ge=0, le=1e60, allow_inf_nan=False)]
Step = Annotated[int, Field(ge=1, le=65536)]
_STRICT = ConfigDict(extra="forbid", frozen=True)


class ClassCoefficients(BaseModel):
    """Coefficients of one class of operators, and how wrong they were on families left out.

    `least_size` is that of the smallest operator of the class in the source networks, in MACs or
    elements; 0 where they hold none.
    """

    model_config = _STRICT
    overhead_seconds: Positive
    seconds_per_mac: Positive
    seconds_per_element: Positive
    error: NonNegative
    least_size: NonNegative


class PrecisionCoefficients(BaseModel):
    """Coefficients at one precision; half sizes are (reduction, outputs, positions).

    `pads` says that the runtime's networks pad maps by an operator of its own. `beyond_cache` is
    (elements of maps that a cache holds, times that one beyond them counts more).
    """

    model_config = _STRICT
    constant_seconds: Positive
    seconds_per_weight: Positive
    seconds_per_weight_3x3: Positive | None = None
    half_sizes: tuple[Positive, Positive, Positive]
    depthwise_half_sizes: tuple[Positive, Positive, Positive]
    channel_steps: tuple[Step, Step]
    pads: bool = False
    beyond_cache: tuple[Positive, Positive] | None = None
    seen: tuple[str, ...]
    classes: dict[str, ClassCoefficients]


class RooflineCoefficients(BaseModel):
    """The `coefficients` object of a table's header; version 1 tells fewer classes apart."""

    model_config = _STRICT
    model: Literal["roofline"] = "roofline"
    version: Literal[1, 2] = 2
    precisions: dict[str, PrecisionCoefficients]


@dataclass(frozen=True, slots=True)
class Unit:
    """One device, runtime, thread count and precision, fitted.

    Attributes:
        parameters: (roofline.PARAMETERS,) logarithms.
        channel_steps: Multiples that (input, output) channels are rounded up to.
        errors: (classes,) relative error of each class.
        least_size: (classes,) size of each class's smallest operator in the source networks.
        seen: Names of the operators that the source networks hold.
        pads: Whether padding runs as an operator of its own.
        spill: What maps cost that do not fit into a cache; None where all cost alike.
    """

    parameters: Floats
    channel_steps: tuple[int, int]
    errors: Floats
    least_size: Floats
    seen: frozenset[str]
    pads: bool = False
    spill: Spill | None = None


@dataclass(frozen=True, slots=True)
class Roofline:
    """Predicts from the coefficients of one table."""

    units: Mapping[str, Unit]

    def predict(self, keys: Sequence[OpKey]) -> tuple[Floats, Floats]:
        """Times and relative errors of `keys`; NaN for both where the precision is not known.

        The error of one operator is such that errors weighted by time give the mean absolute
        error of whole networks whose family was left out of the fit. It grows by itself with each
        power of ten by which an operator is smaller than any of its class in the source networks.
        """
        seconds, errors = np.full(len(keys), np.nan), np.full(len(keys), np.nan)
        places: dict[str, list[int]] = {}
        for place, key in enumerate(keys):
            places.setdefault(key.precision, []).append(place)
        for precision, where in places.items():
            if precision in self.units:
                unit, chosen = self.units[precision], [keys[place] for place in where]
                ops = operator_features(chosen, unit.channel_steps, unit.pads, unit.spill)
                seconds[where] = roofline.seconds(unit.parameters, ops)
                errors[where] = _errors(unit, ops, chosen)
        return seconds, errors

    def constant(self, precision: str) -> float:
        """Time of a whole call that no operator accounts for; NaN for an unknown precision."""
        if precision not in self.units:
            return float("nan")
        return float(np.exp(self.units[precision].parameters[roofline.CONSTANT]))

    def coefficients(self) -> dict[str, JsonValue]:
        """What a table's header keeps, rounded to six digits, as JSON values."""
        precisions = {name: _coefficients(unit) for name, unit in self.units.items()}
        kept: dict[str, JsonValue] = RooflineCoefficients(precisions=precisions).model_dump(
            mode="json", exclude_none=True
        )
        return kept


def _errors(unit: Unit, ops: OperatorFeatures, keys: Sequence[OpKey]) -> Floats:
    known = np.array([key.op in unit.seen for key in keys])
    fitted = np.where(known, unit.errors[ops.kind], np.maximum(unit.errors[ops.kind], UNSEEN_ERROR))
    smaller = unit.least_size[ops.kind] / np.maximum(ops.size, 1.0)
    stated: Floats = fitted * (1 + np.log10(np.maximum(smaller, 1.0)))
    return stated


def _digits(value: float) -> float:
    return float(f"{value:.6g}")


def _coefficients(unit: Unit) -> PrecisionCoefficients:
    values = [_digits(value) for value in np.exp(unit.parameters)]
    classes = {
        name: ClassCoefficients(
            overhead_seconds=values[roofline.OVERHEAD][index],
            seconds_per_mac=values[roofline.RATE][index],
            seconds_per_element=values[roofline.TRAFFIC][index],
            error=round(float(unit.errors[index]), 4),
            least_size=float(unit.least_size[index]),
        )
        for index, name in enumerate(CLASSES)
    }
    half, deep = values[roofline.HALF], values[roofline.HALF_DEPTHWISE]
    return PrecisionCoefficients(
        constant_seconds=values[roofline.CONSTANT],
        seconds_per_weight=values[roofline.WEIGHTS],
        seconds_per_weight_3x3=values[roofline.WEIGHTS3],
        half_sizes=(half[0], half[1], half[2]),
        depthwise_half_sizes=(deep[0], deep[1], deep[2]),
        channel_steps=unit.channel_steps,
        pads=unit.pads,
        beyond_cache=(unit.spill.elements, unit.spill.times) if unit.spill else None,
        seen=tuple(sorted(unit.seen)),
        classes=classes,
    )


def _unit(precision: str, read: PrecisionCoefficients) -> Unit:
    classes = dict(read.classes)
    for name, parent in PARENTS.items():
        if name not in classes and parent in classes:
            classes[name] = classes[parent]
    if sorted(classes) != sorted(CLASSES):
        odd = sorted(set(CLASSES).symmetric_difference(classes))
        raise TableError(
            f"coefficients.precisions.{precision}.classes: wrong set: {', '.join(odd)}"
        )
    values = np.empty(roofline.PARAMETERS)
    ordered = [classes[name] for name in CLASSES]
    values[roofline.OVERHEAD] = [one.overhead_seconds for one in ordered]
    values[roofline.RATE] = [one.seconds_per_mac for one in ordered]
    values[roofline.TRAFFIC] = [one.seconds_per_element for one in ordered]
    values[roofline.WEIGHTS] = read.seconds_per_weight
    values[roofline.WEIGHTS3] = read.seconds_per_weight_3x3 or read.seconds_per_weight
    values[roofline.HALF] = read.half_sizes
    values[roofline.HALF_DEPTHWISE] = read.depthwise_half_sizes
    values[roofline.CONSTANT] = read.constant_seconds
    errors = np.array([one.error for one in ordered])
    least = np.array([one.least_size for one in ordered])
    seen = frozenset(read.seen)
    spill = Spill(*read.beyond_cache) if read.beyond_cache else None
    return Unit(np.log(values), read.channel_steps, errors, least, seen, read.pads, spill)


def load_predictor(coefficients: Mapping[str, object]) -> Roofline:
    """The predictor that a table's header describes.

    Raises:
        TableError: The object is not one of the known models; the first bad key is named.
    """
    try:
        read = RooflineCoefficients.model_validate(coefficients)
    except ValidationError as error:
        raise TableError(f"coefficients.{fault_of(error)}") from None
    return Roofline({name: _unit(name, one) for name, one in read.precisions.items()})
