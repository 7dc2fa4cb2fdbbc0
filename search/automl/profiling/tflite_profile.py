"""Profiles that TFLite's `benchmark_model --enable_op_profiling=true` prints, or writes as CSV."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from automl.errors import UsageError
from automl.profiling.nodes import MOST_MS, Profile, ProfiledNode

_TABLE: Final = re.compile(r"^[ \t]*=+ Run Order =+[ \t\r]*$", re.MULTILINE)
_MOST_CHARACTERS: Final = 1 << 22
_NEEDED: Final = ("node type", "avg ms", "name")
#: TFLite's operators and what they are priced as.
_OPS: Final = {
    "CONV_2D": "conv2d",
    "DEPTHWISE_CONV_2D": "depthwise_conv2d",
    "TRANSPOSE_CONV": "conv_transpose2d",
    "FULLY_CONNECTED": "linear",
    "BATCH_MATMUL": "matmul",
    "MAX_POOL_2D": "max_pool",
    "AVERAGE_POOL_2D": "avg_pool",
    "MEAN": "global_avg_pool",
    "ADD": "add",
    "MUL": "mul",
    "CONCATENATION": "concat",
    "SOFTMAX": "softmax",
    "RESIZE_BILINEAR": "resize",
    "RESIZE_NEAREST_NEIGHBOR": "resize",
    "HARD_SWISH": "activation",
    "LOGISTIC": "activation",
    "PRELU": "activation",
}


def is_tflite(text: str) -> bool:
    """Whether a text holds such a profile."""
    return _TABLE.search(text) is not None


def read_tflite(text: str, path: Path) -> Profile:
    """The lines of the last "Run Order" table, which is that of the timed runs.

    It tells neither shapes nor precision, and names are those of the tensors that are written: the
    more a converter keeps of the module names, the more can be matched.

    Raises:
        UsageError: A column is missing, or a time is no number.
    """
    if len(text) > _MOST_CHARACTERS:
        raise UsageError(f"{path}: {len(text):,} characters, far more than benchmark_model prints")
    lines = [line.strip() for line in text.splitlines()]
    start = max(i for i, line in enumerate(lines) if _TABLE.match(line))
    header = [field.lower().replace("_", " ") for field in _fields(_at(lines, start + 1))]
    missing = [name for name in _NEEDED if name not in header]
    if missing:
        raise UsageError(f"{path}, line {start + 2}: no column {missing[0]!r} in its table")
    nodes = []
    for number in range(start + 2, len(lines)):
        if not lines[number]:
            break
        nodes.append(_node(dict(zip(header, _fields(lines[number]), strict=False)), path, number))
    return Profile("tflite", tuple(_without_model_name(nodes)))


def _at(lines: list[str], number: int) -> str:
    return lines[number] if number < len(lines) else ""


def _fields(line: str) -> list[str]:
    """Fields of a line of the printed table (tabs) or of the CSV; the name is the last of nine."""
    fields = line.split("\t") if "\t" in line else line.split(",", 8)
    return [field.strip().removeprefix("[").removesuffix("]") for field in fields]


def _node(found: dict[str, str], path: Path, number: int) -> ProfiledNode:
    try:
        milliseconds = float(found["avg ms"])
    except (KeyError, ValueError):
        milliseconds = math.nan
    if not 0 <= milliseconds <= MOST_MS or "name" not in found:
        raise UsageError(f"{path}, line {number + 1}: not a line of a benchmark_model profile")
    kind = found["node type"]
    name = re.sub(r"\]?:\d+$", "", found["name"])
    aside = "" if kind in _OPS else f"{kind} is no operator that is priced"
    if "delegate" in kind.lower():
        aside = "a delegate's subgraph in one line"
    parts = tuple(filter(None, name.split(";")))
    return ProfiledNode(name, milliseconds / 1e3, 0, (parts,), aside, _OPS.get(kind, ""))


def _without_model_name(nodes: Sequence[ProfiledNode]) -> Iterator[ProfiledNode]:
    """The nodes, without the first word of their names where all have the same."""
    first = {node.branches[0][0].partition("/")[0] for node in nodes if node.branches[0]}
    prefix = f"{first.pop()}/" if len(first) == 1 and len(nodes) > 1 else ""
    for node in nodes:
        yield replace(
            node,
            branches=tuple(
                tuple(part.removeprefix(prefix) for part in branch) for branch in node.branches
            ),
        )
