"""Kinds of options: the one check of each, wherever a value was written."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Final, cast

from automl.errors import UsageError
from automl.example import find_example
from automl.methods import registry
from automl.options.choices import check_choices
from automl.options.proxies import check_proxy
from automl.options.recovering import (
    AskedRecovery,
    AskedSupernet,
    parse_recovery,
    parse_steps,
    parse_supernet,
)
from automl.policy import parse_precisions
from automl.units import MOST_SEED, parse_budget


@dataclass(frozen=True, slots=True)
class Kind:
    """What an option's values are.

    Attributes:
        check: Gives the value in its own type; raises UsageError with what is wrong. A value that
            was checked passes again.
        metavar: What stands for a value in the command's help; "" for a switch.
        read: What `check` takes, of a flag's text.
        many: Whether the flag is repeated for several values.
    """

    check: Callable[[Any], object]
    metavar: str = ""
    read: Callable[[str], object] = str
    many: bool = False

    @property
    def switch(self) -> bool:
        """Whether the flag takes no value."""
        return not self.metavar


#: Characters of a value that cannot be, and bits of a whole number that is written out.
_SHOWN: Final = 60
_BITS: Final = 200
#: Digits of a flag's whole number; what is longer is none that anything here takes.
_DIGITS: Final = 20


def _expected(what: str, found: object) -> UsageError:
    if isinstance(found, int) and found.bit_length() > _BITS:
        return UsageError(f"expected {what}, found a number of {found.bit_length()} bits")
    shown = repr(found)
    cut = f"{shown[:_SHOWN]}..." if len(shown) > _SHOWN else shown
    return UsageError(f"expected {what}, found {cut}")


def _decimal_comma(written: str, because: str = "a number has a point") -> UsageError | None:
    """What to say where a value is a number but for a comma in place of its point; else None."""
    point = re.sub(r"(?<![\d.,])(\d+),(\d+)(?![\d.,])", r"\1.\2", written)
    return None if point == written else UsageError(f"{written!r}: {because}; write {point}")


def _number(written: str) -> object:
    """A flag's whole number; what is none stays text, and is refused as such."""
    plain = re.fullmatch(rf"[+-]?[0-9]{{1,{_DIGITS}}}", written.strip())
    return int(written) if plain else written


def whole(least: int, metavar: str = "N", most: int | None = None) -> Kind:
    """Whole numbers from `least` on, or up to `most`."""
    end = "on" if most is None else f"to {most}"

    def check(value: Any) -> int:
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        if not whole or value < least or (most is not None and int(value) > most):
            raise _expected(f"a whole number from {least} {end}", value)
        return int(value)

    return Kind(check, metavar, _number)


def text(metavar: str) -> Kind:
    """A text, or a path that is kept as one."""

    def check(value: Any) -> str:
        if not isinstance(value, str | Path) or not str(value).strip():
            raise _expected(f"text ({metavar})", value)
        return str(value)

    return Kind(check, metavar)


def texts(metavar: str) -> Kind:
    """Several texts; one may stand for a list of one."""

    def check(value: Any) -> tuple[str, ...]:
        found = (value,) if isinstance(value, str) else value
        listed = isinstance(found, list | tuple)
        if not listed or not all(isinstance(one, str) and one.strip() for one in found):
            raise _expected(f"text or a list of texts ({metavar})", value)
        return tuple(found)

    return Kind(check, metavar, many=True)


def method(kind: str) -> Kind:
    """The name of a method of that kind, as `automl methods` lists them."""

    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise _expected("a name", value)
        return registry(kind).get(value).name

    return Kind(check, "NAME")


def methods(kind: str) -> Kind:
    """Names of methods of that kind; one may stand for a list of one."""
    named, several = method(kind), texts("NAME")

    def check(value: Any) -> tuple[object, ...]:
        return tuple(map(named.check, cast(tuple[str, ...], several.check(value))))

    return Kind(check, "NAME", many=True)


def method_with_options(kind: str) -> Kind:
    """As `method`; behind the name stand options of its own: "nearest:ranges=max"."""

    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise _expected("a name", value)
        registry(kind).check(value)
        return value

    return Kind(check, "NAME")


def methods_with_options(kind: str) -> Kind:
    """Several of `method_with_options`; one may stand for a list of one."""
    named, several = method_with_options(kind), texts("NAME")

    def check(value: Any) -> tuple[object, ...]:
        return tuple(map(named.check, cast(tuple[str, ...], several.check(value))))

    return Kind(check, "NAME", many=True)


def _path(value: Any) -> Path:
    if not isinstance(value, str | Path) or not str(value).strip() or "\0" in str(value):
        raise _expected("a path", value)
    return Path(value)


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _expected("true or false", value)
    return value


_SIZES: Final = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9}
_SECONDS: Final = {"": 1.0, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}


def _float(value: Any) -> float:
    """A number as a float; infinite where none holds it."""
    try:
        return float(value)
    except OverflowError:
        return inf


def _duration(value: Any) -> float:
    """Seconds of "90s", "10min", "2h" or a number."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+\.?\d*)\s*([a-z]*)\s*", value)
        known = match is not None and match[2] in _SECONDS
        seconds = float(match[1]) * _SECONDS[match[2]] if match is not None and known else 0.0
    else:
        plain = isinstance(value, Real) and not isinstance(value, bool)
        seconds = _float(value) if plain else 0.0
    if not 0.0 < seconds < inf:
        if isinstance(value, str) and (comma := _decimal_comma(value)):
            raise comma
        raise _expected("a time such as 90s, 10min or 2h", value)
    return seconds


def _bytes(value: Any) -> int:
    """Bytes of "2GB", "800MB" (decimal units) or a whole number."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+\.?\d*)\s*([kMG]?B)\s*", value)
        count = float(match[1]) * _SIZES[match[2]] if match is not None else 0.0
    else:
        plain = isinstance(value, Integral) and not isinstance(value, bool)
        count = _float(value) if plain else 0.0
    if not 1.0 <= count < inf:
        if isinstance(value, str) and (comma := _decimal_comma(value)):
            raise comma
        raise _expected("a size such as 2GB or 800MB", value)
    return round(count)


def _granularity(value: Any) -> int | None:
    """A granularity; None of "auto", which learns it."""
    if value == "auto":
        return None
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise _expected("auto or a whole number from 1 on", value)
    return int(value)


def _resolutions(value: Any) -> tuple[int, ...] | None:
    """Input sizes in order; () of "off", None of "auto"."""
    if isinstance(value, str):
        if value in ("auto", "off"):
            return None if value == "auto" else ()
        sizes: list[object] = [_number(part) for part in value.split(",")]
    else:
        sizes = list(value) if isinstance(value, list | tuple) else [value]
    for size in sizes:
        if isinstance(size, bool) or not isinstance(size, Integral) or int(size) < 1:
            raise _expected("auto, off or sizes such as 160,192,224", value)
    return tuple(sorted({int(size) for size in sizes if isinstance(size, Integral)}))


def _precisions(value: Any) -> tuple[str, ...]:
    found = (value,) if isinstance(value, str) else value
    if not isinstance(found, list | tuple) or not all(isinstance(word, str) for word in found):
        raise _expected("auto, float or a list such as int8,fp16,w4a6", value)
    return parse_precisions(",".join(found))


def _budget(value: Any) -> tuple[str, ...]:
    found = (value,) if isinstance(value, str) else value
    if not isinstance(found, list | tuple) or not all(isinstance(one, str) for one in found):
        raise _expected("a limit such as 10ms, 50% or 4MB, or a list of them", value)
    if not found:
        raise UsageError("expected a limit such as 10ms, 50% or 4MB, found none")
    for one in found:
        try:
            for written in one.split(","):
                parse_budget(written)
        except UsageError as error:
            raise _decimal_comma(one, "a comma separates budgets") or error from None
    return tuple(found)


def _input_shape(value: Any) -> tuple[int, ...]:
    """The batch-1 shape of "3x224x224"."""
    if isinstance(value, tuple):
        return value
    parts = value.lower().split("x") if isinstance(value, str) else []
    if not parts or not all(re.fullmatch(r"[0-9]{1,9}", part) and int(part) for part in parts):
        raise _expected("a shape such as 3x224x224", value)
    return (1, *(int(part) for part in parts))


#: What files of a network end in: ONNX, Python source, ExecuTorch, LiteRT.
EXPORTS: Final = (".onnx", ".py", ".pte", ".tflite")


def _export(value: Any) -> Path:
    path = _path(value)
    if path.suffix not in EXPORTS:
        ends = f"ends in {path.suffix}" if path.suffix else "has no ending"
        raise UsageError(
            f"{path.name} {ends}, which says what is written: one of {', '.join(EXPORTS)}"
        )
    if path.suffix == ".py" and not path.stem.isidentifier():
        raise UsageError(f"{path.name} cannot be imported: name it with letters, digits and _")
    return path


def _example(value: Any) -> str:
    if not isinstance(value, str):
        raise _expected("a name", value)
    return find_example(value).name


def recovery_of(text: str) -> AskedRecovery:
    """What a recovery is asked for with.

    Raises:
        UsageError: It is nothing that can be asked for; names the nearest term.
    """
    return parse_recovery(text, _duration)


def _recovery(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | Path | Integral):
        raise _expected("a recovery such as 20, kd+hints:20 or auto:30min", value)
    recovery_of(str(value))
    return str(value)


def _steps(value: Any) -> str:
    if not isinstance(value, str):
        raise _expected("a recovery in steps such as kd:20steps", value)
    parse_steps(value)
    return value


def supernet_of(text: str) -> AskedSupernet:
    """How long a supernet is trained.

    Raises:
        UsageError: It is neither steps nor a time.
    """
    return parse_supernet(text, _duration)


def _supernet(value: Any) -> str:
    if not isinstance(value, str):
        raise _expected("a time or steps such as 30min or 500steps", value)
    supernet_of(value)
    return value


SWITCH: Final = Kind(_switch)
PROXY: Final = Kind(check_proxy, "NAME")
RECOVERY_STEPS: Final = Kind(_steps, "LIST:Nsteps")
SUPERNET: Final = Kind(_supernet, "30min|Nsteps")
RECOVERY: Final = Kind(_recovery, "EPOCHS|LIST:EPOCHS")
PATH: Final = Kind(_path, "FILE")
EXPORT: Final = Kind(_export, "FILE")
FOLDER: Final = Kind(_path, "FOLDER")
DURATION: Final = Kind(_duration, "10min")
BYTES: Final = Kind(_bytes, "2GB")
GRANULARITY: Final = Kind(_granularity, "auto|N", _number)
RESOLUTIONS: Final = Kind(_resolutions, "auto|off|N,N")
PRECISIONS: Final = Kind(_precisions, "auto|float|LIST")
BUDGET: Final = Kind(_budget, "LIMIT", many=True)
CHOICES: Final = Kind(check_choices, "auto|LIST")
INPUT_SHAPE: Final = Kind(_input_shape, "CxHxW")
EXAMPLE: Final = Kind(_example, "NAME")
SEED: Final = whole(0, most=MOST_SEED)
