"""What a worker may say, line by line: anything else is not believed.

A board's lines come from another machine and go into a table that others read, so a time that is
no number, an answer to what was not asked and the codes of a terminal end here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from automl.errors import MeasureError
from automl.profiling.device import Conditions

_MOST_RUNS: Final = 10**15
_SHOWN: Final = 60  # characters of a value that cannot be

M = TypeVar("M", bound="_Line")


def printable(text: str) -> str:
    """A text without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


Text = Annotated[str, AfterValidator(printable)]
Finite = Annotated[float, Field(allow_inf_nan=False, ge=0.0)]


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)


class TimedProbe(_Line):
    """A probe's time.

    Attributes:
        probe: Index of the probe in the request.
        seconds: Median over passes.
        spread: Relative half-width of its 68 % interval.
        runs: Executions that it rests on.
    """

    probe: int = Field(ge=0, le=_MOST_RUNS)
    seconds: float = Field(gt=0.0, allow_inf_nan=False)
    spread: Finite
    runs: int = Field(ge=0, le=_MOST_RUNS)


class Refused(_Line):
    """Why the runtime refused the probe of that index."""

    probe: int = Field(ge=0, le=_MOST_RUNS)
    error: Text = Field(min_length=1)


class Done(_Line):
    """The end of a request: the share of its time in which others took the core, and the state."""

    stolen: Finite
    state: dict[str, Any]


class Hello(_Line):
    """A worker's first line: what it is on, and each runtime's version among the other fields.

    Attributes:
        machine: Architecture.
        python: Version of its interpreter.
        state: Of the machine.
        load: Cores that others keep busy.
        boot: The start of the kernel that it runs on; "" where the machine does not tell.
        saturates: Of runtimes that were asked, whether their sums of products of bytes saturate.
    """

    model_config = ConfigDict(extra="allow")

    machine: Text
    python: Text
    state: dict[str, Any]
    load: Finite
    boot: str = ""
    saturates: Mapping[str, bool] = Field(default_factory=dict)

    @property
    def runtimes(self) -> Mapping[str, object]:
        """The version of each runtime; None where it is not installed."""
        return self.model_extra or {}


_CONDITIONS: Final = TypeAdapter(Conditions)


def parse_hello(line: Mapping[str, Any], where: str) -> Hello:
    """A worker's first line.

    Raises:
        MeasureError: It is none; names the field.
    """
    return _parse(Hello, line, where)


def parse_answer(line: Mapping[str, Any], where: str) -> TimedProbe | Refused | Done:
    """A line about a request.

    Raises:
        MeasureError: It is none; names the field.
    """
    if "done" in line:
        return _parse(Done, line, where)
    if "error" in line:
        return _parse(Refused, line, where)
    return _parse(TimedProbe, line, where)


def parse_conditions(state: Mapping[str, Any], where: str) -> Conditions:
    """The state that a worker tells of its machine.

    Raises:
        MeasureError: A field is missing or of another type.
    """
    shown = {key: printable(each) if isinstance(each, str) else each for key, each in state.items()}
    try:
        return _CONDITIONS.validate_json(json.dumps(shown), strict=True)
    except ValidationError as error:
        raise _refusal(error, where) from None


def _parse(kind: type[M], line: Mapping[str, Any], where: str) -> M:
    try:
        return kind.model_validate(line)
    except ValidationError as error:
        raise _refusal(error, where) from None


def _refusal(error: ValidationError, where: str) -> MeasureError:
    first = error.errors(include_url=False)[0]
    field = ".".join(map(str, first["loc"]))
    missing = first["type"] == "missing"
    found = "" if missing else f", not {printable(repr(first['input']))[:_SHOWN]}"
    return MeasureError(f"{where}: the worker says what cannot be: {field}: {first['msg']}{found}")
