"""Budgets as people write them, and figures as people read them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final, Literal, get_args

from automl.errors import UsageError

Quantity = Literal["latency", "macs", "bytes", "joules"]
#: What a target counts its latency in: cycles where it is a simulator.
TimeUnit = Literal["seconds", "cycles"]
#: Order of the columns in arrays of costs: the one place that tells it.
QUANTITIES: Final[tuple[Quantity, ...]] = get_args(Quantity)

#: Largest seed: generators of torch take 64 bits.
MOST_SEED: Final = 2**64 - 1

_ABSOLUTE: Final[dict[str, tuple[Quantity, float]]] = {
    "s": ("latency", 1.0),
    "ms": ("latency", 1e-3),
    "us": ("latency", 1e-6),
    "µs": ("latency", 1e-6),
    "macs": ("macs", 1.0),
    "kmacs": ("macs", 1e3),
    "mmacs": ("macs", 1e6),
    "gmacs": ("macs", 1e9),
    "b": ("bytes", 1.0),
    "kb": ("bytes", 1e3),
    "mb": ("bytes", 1e6),
    "gb": ("bytes", 1e9),
    "kib": ("bytes", 2.0**10),
    "mib": ("bytes", 2.0**20),
    "gib": ("bytes", 2.0**30),
}
#: Joules are written in one way: a megajoule is a billion times a millijoule.
_JOULES: Final = {"MJ": 1e6, "kJ": 1e3, "J": 1.0, "mJ": 1e-3, "uJ": 1e-6, "µJ": 1e-6}
_CYCLES: Final = {"cycles": 1.0, "kcycles": 1e3, "mcycles": 1e6, "gcycles": 1e9}
_SHARES: Final[dict[str, Quantity]] = {
    "": "latency",
    "latency": "latency",
    "macs": "macs",
    "size": "bytes",
    "energy": "joules",
}
_NUMBER: Final = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*(.*?)\s*")


@dataclass(frozen=True, slots=True)
class BudgetText:
    """A budget as it was written.

    Attributes:
        quantity: What is limited.
        value: Seconds, MACs, bytes or joules; a share of the dense model's where `relative`.
        relative: Whether `value` is a share.
        unit: What an absolute latency is in.
    """

    quantity: Quantity
    value: float
    relative: bool
    unit: TimeUnit = "seconds"


def parse_budget(text: str) -> BudgetText:
    """Read one budget: `10ms`, `50%`, `0.5x`, `60MMACs`, `50%MACs`, `4MB`, `50%size`, `5mJ`.

    A simulator's latency is limited as `5Mcycles`.

    Raises:
        UsageError: If the text is no positive number with a unit.
    """
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is not a number with a unit: write {_EXAMPLES}")
    number, unit = float(match[1]), match[2].replace("\N{GREEK SMALL LETTER MU}", "µ")
    if number <= 0.0:
        raise UsageError(f"{text!r} must be more than nothing")
    if math.isinf(number):
        raise UsageError(f"{text[:20]!r}... is more than a number can hold: write {_EXAMPLES}")
    if not unit:
        raise UsageError(
            f"{text!r} has no unit: write {text.strip()}ms for a time,"
            f" {text.strip()}% for a share of the dense latency, or {_EXAMPLES}"
        )
    if unit[0] in "%xX":
        return _share(text, number / 100.0 if unit[0] == "%" else number, unit[1:].strip())
    if unit.lower() in _CYCLES:
        return BudgetText("latency", number * _CYCLES[unit.lower()], False, "cycles")
    if unit in _JOULES:
        return BudgetText("joules", number * _JOULES[unit], relative=False)
    known = _ABSOLUTE.get(unit.lower())
    if known is None:
        if unit.lower().endswith("j"):
            raise UsageError(f"{text!r} has no unit of energy: write {', '.join(_JOULES)}")
        raise UsageError(f"{text!r} has the unknown unit {unit!r}: write {_EXAMPLES}")
    quantity, scale = known
    return BudgetText(quantity, number * scale, relative=False)


_EXAMPLES: Final = "10ms, 50%, 60MMACs, 50%MACs, 4MB or 50%size"


def _share(text: str, value: float, of: str) -> BudgetText:
    quantity = _SHARES.get(of.lower())
    if quantity is None:
        raise UsageError(f"{text!r} is a share of the unknown {of!r}: write {_EXAMPLES}")
    return BudgetText(quantity, value, relative=True)


def format_seconds(seconds: float) -> str:
    """A latency for people, in milliseconds: `3.21 ms`."""
    return f"{_metrics(seconds * 1e3)} ms"


def format_bytes(count: float) -> str:
    """A size for people, in decimal units: `4.02 MB`."""
    return _scaled(count, (("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1.0)))


def format_macs(count: float) -> str:
    """Multiply-accumulates for people: `125 MMACs`."""
    return _scaled(count, (("GMACs", 1e9), ("MMACs", 1e6), ("kMACs", 1e3), ("MACs", 1.0)))


def format_joules(joules: float) -> str:
    """An energy for people, in millijoules: `5.10 mJ`."""
    return f"{_metrics(joules * 1e3)} mJ"


def format_cycles(count: float) -> str:
    """A simulated latency for people: `5.20 Mcycles`."""
    units = (("Gcycles", 1e9), ("Mcycles", 1e6), ("kcycles", 1e3), ("cycles", 1.0))
    return _scaled(count, units)


def format_quantity(quantity: Quantity, value: float, unit: TimeUnit = "seconds") -> str:
    """A value of a cost's quantity (seconds or cycles, MACs, bytes, joules) for people."""
    formats = {
        "latency": format_seconds if unit == "seconds" else format_cycles,
        "macs": format_macs,
        "bytes": format_bytes,
        "joules": format_joules,
    }
    return formats[quantity](value)


def round_up(value: float) -> float:
    """The value raised to the next of three figures: as a budget it can still be met."""
    if value <= 0.0 or not math.isfinite(value):
        return value
    scale = 10.0 ** (math.floor(math.log10(value)) - 2)
    return math.ceil(value / scale) * scale


def _scaled(value: float, units: tuple[tuple[str, float], ...]) -> str:
    for unit, scale in units:
        if abs(value) >= scale:
            return f"{_metrics(value / scale)} {unit}"
    return f"{_metrics(value)} {units[-1][0]}"


def _metrics(value: float) -> str:
    """Three figures, without an exponent where people would not want one."""
    size = abs(value)
    if size >= 100.0 or value == 0.0:
        return f"{value:.0f}"
    if size >= 10.0:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 1.0 else f"{value:.3g}"
