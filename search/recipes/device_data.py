"""Reads the collected device data: whole networks as operators and times, and single operators.

The files are CSV; their columns and traps are described beside them. Nothing is copied from them
but facts: shapes and times. What was collected later lies in a folder below and lists activations.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unlisted_operators import with_unlisted

from automl.latency.keys import OpKey

#: Operators of the files that OPERATORS names otherwise.
_RENAMED = {"bn_relu": "norm", "lrn": "norm", "upsample": "resize", "focus_slice": "concat"}
#: Devices that sources call differently: the chip, its clocks and its bandwidth are the same.
_SAME = {"jetson-agx-orin": "jetson-agx-orin-64gb", "jetson-nano-2gb": "jetson-nano"}
#: Cores that sources name in words.
_CORES = {"large core": "1large", "4 threads": "4any"}
_LATER = "collected_2026_11_25"
#: Ultralytics' later page has the Orin NX 1.3 times as fast as others, and as its own earlier one
#: beside the other Orins: as much as Super mode's clock (1173 MHz for 918). It is another device.
_SUPER = {("jetson-orin-nx-16gb", "Ultralytics 8.4.33"): "jetson-orin-nx-16gb-super"}
#: Rows of single operators that are not operators of a network.
_NOT_OPERATORS = frozenset({"reformat", "concat_copy"})


@dataclass(frozen=True, slots=True, order=True)
class UnitKey:
    """What one set of timings shares: (device, runtime, cores, precision)."""

    device: str
    runtime: str
    cores: str
    precision: str


@dataclass(frozen=True, slots=True)
class Citation:
    """Where a timing was published."""

    repository: str
    path: str
    commit: str
    licence: str


@dataclass(frozen=True, slots=True)
class Timed:
    """One timed network, or one timed operator (then `keys` holds that operator alone).

    Attributes:
        model: Name of the network, or of the networks that an operator comes from.
        families: What is left out together in validation; an operator may belong to several.
        keys: Its operators.
        seconds: Measured time.
        soc, version: As the source or the data's notes name them; "" where not stated.
        citation: Source.
        whole: Whether all operators are listed: detectors' last steps are not.
    """

    model: str
    families: tuple[str, ...]
    keys: tuple[OpKey, ...]
    seconds: float
    soc: str
    version: str
    citation: Citation
    whole: bool = True


def _key(row: Mapping[str, str], precision: str) -> OpKey:
    def number(name: str) -> int:
        return int(row[name])

    pad = number("padding")
    return OpKey(
        _RENAMED.get(row["op"], row["op"]),
        number("in_channels"),
        number("out_channels"),
        (number("kernel_h"), number("kernel_w")),
        (number("stride"), number("stride")),
        (pad, int(row.get("padding_w") or pad)),
        (1, 1),
        number("groups"),
        (number("in_h"), number("in_w")),
        (number("out_h"), number("out_w")),
        row.get("detail") or "",
        precision,
    )


def _families(origin: str) -> tuple[str, ...]:
    """Families of an operator's networks: "resnet18/34;densenet121" is resnet and densenet."""
    names = (name.strip().rstrip("0123456789/") for name in origin.split(";"))
    return tuple(dict.fromkeys(names))


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def _citation(row: Mapping[str, str]) -> Citation:
    return Citation(row["source_repo"], row["source_path"], row["commit"], row["licence"])


def read_networks(folder: Path) -> dict[UnitKey, list[Timed]]:
    """Whole networks per unit, in the order of the files."""
    units: dict[UnitKey, list[Timed]] = defaultdict(list)
    for unit, timed in (*_read(folder, with_unlisted), *_read(folder / _LATER, _as_listed)):
        units[unit].append(timed)
    return dict(units)


def _device(row: Mapping[str, str]) -> str:
    name = _SAME.get(row["device"], row["device"])
    return _SUPER.get((name, row["runtime_version"]), name)


def _as_listed(_: str, keys: Sequence[OpKey]) -> tuple[OpKey, ...]:
    return tuple(keys)


def _read(
    folder: Path, complete: Callable[[str, Sequence[OpKey]], tuple[OpKey, ...]]
) -> Iterator[tuple[UnitKey, Timed]]:
    shapes: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in _rows(folder / "ops.csv"):
        shapes[row["model"]].append(row)
    keys: dict[tuple[str, str], tuple[OpKey, ...]] = {}
    for row in _rows(folder / "end_to_end.csv"):
        model, precision = row["model"], row["precision"]
        if (model, precision) not in keys:
            listed = [_key(one, precision) for one in shapes[model]]
            keys[model, precision] = complete(model, listed)
        unit = UnitKey(
            _device(row),
            row["runtime"],
            _CORES.get(row["cores"], row["cores"]),
            precision,
        )
        yield (
            unit,
            Timed(
                model,
                (row["family"],),
                keys[model, precision],
                float(row["latency_ms"]) / 1e3,
                row["soc"],
                row["runtime_version"],
                _citation(row),
                "not in the list" not in row["note"],
            ),
        )


def read_operators(folder: Path) -> dict[UnitKey, list[Timed]]:
    """Single operators per unit; their families follow from the networks they come from."""
    units: dict[UnitKey, list[Timed]] = defaultdict(list)
    for row in _rows(folder / "per_op.csv"):
        if row["op"] in _NOT_OPERATORS:
            continue
        units[UnitKey(row["device"], row["runtime"], "", row["precision"])].append(
            Timed(
                row["origin_network"],
                _families(row["origin_network"]),
                (_key(row, row["precision"]),),
                float(row["latency_ms"]) / 1e3,
                row["soc"],
                row["runtime_version"],
                _citation(row),
            )
        )
    return dict(units)
