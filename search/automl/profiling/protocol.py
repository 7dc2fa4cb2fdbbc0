"""What a worker may say, line by line: anything else is not believed.

A board's lines come from another machine and go into a table that others read, so a time that is
no number or longer than a day, an answer to what was not asked, a text of megabytes and codes of
a terminal end here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from automl.errors import MeasureError, printable
from automl.profiling.device import Conditions

_MOST_RUNS: Final = 10**15
_SHOWN: Final = 60  # characters of a value that cannot be
_MOST_BITS: Final = 1000  # Python writes no number out that is much longer
_REFUSAL: Final = 400  # characters of what a runtime says where it refuses a model
#: Seconds between which a time is believed: what is lost in the noise is told as a nanosecond.
_LEAST: Final = 1e-9
_DAY: Final = 86400.0
#: A spread is relative to a time that may be a nanosecond.
_WIDEST: Final = _DAY / _LEAST

M = TypeVar("M", bound="_Line")

Text = Annotated[str, Field(max_length=200), AfterValidator(printable)]
Number = Annotated[float, Field(allow_inf_nan=False, ge=0.0, le=1e15)]


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)


class TimedProbe(_Line):
    """A probe's time.

    Attributes:
        probe: Index of the probe in the request.
        seconds: By the quickest passes of its models.
        spread: Relative half-width of its 68 % interval.
        runs: Executions that it rests on.
    """

    probe: int = Field(ge=0, le=_MOST_RUNS)
    seconds: float = Field(ge=_LEAST, le=_DAY, allow_inf_nan=False)
    spread: float = Field(ge=0.0, le=_WIDEST, allow_inf_nan=False)
    runs: int = Field(ge=0, le=_MOST_RUNS)


class Refused(_Line):
    """Why the runtime refused the probe of that index."""

    probe: int = Field(ge=0, le=_MOST_RUNS)
    error: Annotated[str, AfterValidator(lambda text: printable(text[:_REFUSAL]))] = Field(
        min_length=1
    )


class Done(_Line):
    """The end of a request: the share of its time in which others took the core, and the state."""

    done: Literal[True] = True
    stolen: float = Field(ge=0.0, le=1.0, allow_inf_nan=False)
    state: dict[str, Any]


class Alive(_Line):
    """A worker that loads or times, and is not finished with anything."""

    alive: Literal[True]


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
    load: Number
    boot: Text = ""
    saturates: Mapping[str, bool] = Field(default_factory=dict)

    @property
    def runtimes(self) -> Mapping[str, object]:
        """The version of each runtime; None where it is not installed."""
        return self.model_extra or {}


class _State(_Line):
    """`Conditions` as a worker tells them."""

    processor: Text
    cores: int = Field(ge=1, le=_MOST_RUNS)
    governor: Text
    clock_hertz: Number | None
    temperature: float | None = Field(ge=-300.0, le=10_000.0, allow_inf_nan=False)
    power_mode: Text
    max_clock_hertz: Number | None = None
    gpu: Text = ""
    throttled: Text = ""
    throttles: int = Field(default=0, ge=0, le=_MOST_RUNS)


def parse_hello(line: Mapping[str, Any], where: str) -> Hello:
    """A worker's first line.

    Raises:
        MeasureError: It is none; names the field.
    """
    return _parse(Hello, line, where)


def parse_answer(line: Mapping[str, Any], where: str) -> TimedProbe | Refused | Done | Alive:
    """A line about a request.

    Raises:
        MeasureError: It is none; names the field.
    """
    if "done" in line:
        return _parse(Done, line, where)
    if "alive" in line:
        return _parse(Alive, line, where)
    if "error" in line:
        return _parse(Refused, line, where)
    return _parse(TimedProbe, line, where)


def parse_conditions(state: Mapping[str, Any], where: str) -> Conditions:
    """The state that a worker tells of its machine.

    Raises:
        MeasureError: A field is missing, of another type, or what cannot be.
    """
    return Conditions(**_parse(_State, state, where).model_dump())


def _parse(kind: type[M], line: Mapping[str, Any], where: str) -> M:
    try:
        return kind.model_validate(line)
    except ValidationError as error:
        raise _refusal(error, where) from None


def _refusal(error: ValidationError, where: str) -> MeasureError:
    first = error.errors(include_url=False)[0]
    field = ".".join(map(str, first["loc"]))
    missing = first["type"] == "missing"
    found = "" if missing else f", not {_shown(first['input'])}"
    return MeasureError(f"{where}: the worker says what cannot be: {field}: {first['msg']}{found}")


def _shown(value: object) -> str:
    """A value for a message, cut where it is long; of one that holds others, its type."""
    if isinstance(value, dict | list):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return f"a number of {value.bit_length()} bits"
    return repr(value[:_SHOWN] if isinstance(value, str) else value)[:_SHOWN]
