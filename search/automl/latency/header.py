"""The first line of a latency table: what was measured, where, under which conditions, how well."""

from __future__ import annotations

import math
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from automl.documents import fault_of, parse_json, shown
from automl.errors import TableError

SCHEMA_VERSION: Final = 1
#: Bytes that a header may have: fitted coefficients of some hundred precisions.
HEADER_BYTES: Final = 1 << 20
_DEVIATIONS: Final = 3  # a spread is one standard deviation
#: Fields that tables did not always have, and what those before them mean.
_LATER: Final[dict[str, object]] = {"boards": (), "saturates": None, "exact_cost": None}


#: Times, factors and errors that can be: what is computed from several still fits a float.
_Amount = Annotated[float, Field(ge=0, le=1e18)]
_Factor = Annotated[float, Field(ge=1e-18, le=1e18)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FittedOverhead(_Model):
    """What a network costs beyond its operators: seconds = scale * sum + per operator + per call.

    Attributes:
        scale: Factor on the sum of the operators' times.
        integers: Beside it, on the times of operators that compute integers.
        seconds_per_operator: Added for each operator that runs.
        seconds_per_call: Added once.
        networks: How many whole networks it was fitted on.
        error: Mean absolute relative error on networks that were left out of the fit.
    """

    scale: _Factor
    integers: _Factor = 1.0
    seconds_per_operator: _Amount
    seconds_per_call: _Amount
    networks: int = Field(ge=1)
    error: _Amount

    @model_serializer(mode="wrap")
    def _as_before(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What was not there is left out: tables without it keep their digest."""
        content: dict[str, Any] = write(self)
        if self.integers == 1.0:
            content.pop("integers", None)
        return content


class KnownError(_Model):
    """How wrong a prediction from this table was found to be.

    Attributes:
        relative: Relative error of whole-network predictions: of shipped tables what covers two
            thirds of networks that the fit did not see, else the mean absolute one. The worst of
            all precisions.
        on: On what that was found ("20 random policies of ResNet-56, measured").
        by_precision: The same of each precision, where that is known.
    """

    relative: _Amount
    on: str
    by_precision: dict[str, _Amount] = Field(default_factory=dict)

    def of(self, precision: str) -> float:
        """The error at a precision."""
        return self.by_precision.get(precision, self.relative)

    @model_serializer(mode="wrap")
    def _as_before(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What was not there is left out: tables without it keep their digest."""
        content: dict[str, Any] = write(self)
        if not self.by_precision:
            content.pop("by_precision", None)
        return content


class BoardComparison(_Model):
    """How long one of several boards of a kind takes beside another.

    Attributes:
        board, beside: The boards, as they are named in rows.
        ratio: Median of the first's time over the second's.
        spread: Relative half-width of the uncertainty of the ratio.
        operators: How many were measured on both.
    """

    board: str = Field(min_length=1)
    beside: str = Field(min_length=1)
    ratio: _Factor
    spread: _Amount
    operators: int = Field(ge=1)

    @property
    def pair(self) -> frozenset[str]:
        """The two boards, whichever is beside which."""
        return frozenset((self.board, self.beside))

    @property
    def clear(self) -> bool:
        """Whether the boards disagree by more than three of their spreads."""
        return abs(math.log(self.ratio)) > math.log1p(_DEVIATIONS * self.spread)

    def __str__(self) -> str:
        return (
            f"{self.board} takes {self.ratio:.3f} times as long as {self.beside}"
            f" (± {100 * self.spread:.1f} %, {self.operators} operators measured on both)"
        )


class TableHeader(_Model):
    """What a table says of itself.

    Attributes:
        schema_version: Of this format; others are refused.
        name: What it is asked for by.
        aliases: Further names.
        device, soc: Board and chip.
        runtime, runtime_version: What executed the operators.
        threads: CPU threads; None where that means nothing.
        precisions: Precisions that the table can price.
        scheme: Quantization scheme that int8 rows measured ("qdq-u8s8"), None without such rows.
        saturates: Whether the device's sums of products of unsigned and signed bytes saturate at 16
            bits; None where it was not asked. Where they do the scheme is one that does not reach
            that far ("qdq-u8s7") or whose kernels are exact ("qdq-u8u8").
        exact_cost: Time of exact kernels over those that saturate, where both were measured.
        unit: Unit of the rows' times, which is also the name of their field.
        batch: Always 1.
        clocks, power_mode, conditions: As noted when it was measured.
        provenance: Who measured, or which publications the values come from.
        overhead: Fitted step from the sum of operators to the network.
        coefficients: Fitted predictor for operators without rows; see `automl.latency.predict`.
        known_error: Of whole-network predictions.
        boards: Where several boards measured, how they compare.
    """

    schema_version: Literal[1] = 1
    name: str = Field(min_length=1)
    aliases: Annotated[tuple[str, ...], FailFast()] = ()
    device: str
    soc: str = ""
    runtime: str
    runtime_version: str = ""
    threads: int | None = Field(default=None, ge=1)
    precisions: Annotated[tuple[str, ...], FailFast()] = ("fp32",)
    scheme: str | None = Field(default=None, validation_alias=AliasChoices("scheme", "form"))
    saturates: bool | None = None
    exact_cost: _Factor | None = None
    unit: Literal["seconds", "cycles"] = "seconds"
    batch: Literal[1] = 1
    clocks: str = ""
    power_mode: str = ""
    conditions: str = ""
    provenance: str = ""
    overhead: FittedOverhead | None = None
    coefficients: dict[str, JsonValue] | None = None
    known_error: KnownError | None = None
    boards: Annotated[tuple[BoardComparison, ...], FailFast(), Field(max_length=256)] = ()

    @model_serializer(mode="wrap")
    def _as_before(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What a table has nothing to say of is left out: earlier ones keep their digest."""
        content: dict[str, Any] = write(self)
        for name, unsaid in _LATER.items():
            if getattr(self, name) == unsaid:
                content.pop(name, None)
        return content


def parse_header(line: str, where: str) -> TableHeader:
    """The header from a file's first line.

    Args:
        line: JSON text.
        where: File and line, for messages.

    Raises:
        TableError: If it is no header, or one of another schema version.
    """
    if len(line) > HEADER_BYTES or not line.lstrip().startswith("{"):
        raise TableError(f"{where}: not a latency table: its first line is {shown(line)}")
    found = parse_json(line, where, TableError)
    version = found.get("schema_version", SCHEMA_VERSION)
    if type(version) is not int or version != SCHEMA_VERSION:
        raise TableError(
            f"{where}: schema_version {shown(version)} is not known to this version of automl,"
            f" which reads {SCHEMA_VERSION}"
        )
    try:
        return TableHeader.model_validate(found)
    except ValidationError as error:
        fault = fault_of(error, TableHeader.model_fields)
        raise TableError(f"{where}: header of a latency table: {fault}") from None
