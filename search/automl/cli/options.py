"""Flags that several commands share, and the forms in which their values are written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

import typer

from automl.errors import UsageError

PolicyPath = Annotated[Path, typer.Argument(metavar="POLICY", help="A policy JSON.")]
Target = Annotated[
    str | None, typer.Option("--target", metavar="NAME", help="Device, or path of a table.")
]
Model = Annotated[
    str | None,
    typer.Option("--model", metavar="FILE.py:NAME", help="Factory of your model, or module:NAME."),
]
Weights = Annotated[
    Path | None, typer.Option("--weights", metavar="FILE", help="State dict of the model.")
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="FILE.py:NAME",
        help="Function that returns (training, validation[, test]) batches.",
    ),
]
Score = Annotated[
    str | None,
    typer.Option(
        "--score",
        metavar="FILE.py:NAME",
        help="Function (model, batches) -> number that should grow, or logits; "
        "default: top-1 accuracy.",
    ),
]
InputShape = Annotated[
    str | None,
    typer.Option("--input-shape", metavar="CxHxW", help="One input, where no data tells it."),
]
Seed = Annotated[
    int | None, typer.Option("--seed", min=0, metavar="N", help="Of everything random.")
]
RoundTo = Annotated[
    str | None,
    typer.Option(
        "--round-to", metavar="auto|N", help="Channel granularity; auto learns it from prices."
    ),
]
NoDepth = Annotated[bool, typer.Option("--no-depth", help="Leave no block out.")]
Resolutions = Annotated[
    str | None,
    typer.Option("--resolutions", metavar="auto|off|N,N", help="Input sizes to choose from."),
]
Precisions = Annotated[
    str | None,
    typer.Option(
        "--precisions",
        metavar="auto|float|LIST",
        help="What layers compute in: int8,fp16,w4a6; w4 or w2-w6 for weights alone.",
    ),
]
KeepFirstLast = Annotated[
    bool | None,
    typer.Option("--keep-first-last", help="Keep the first and the last layer at 8 bits."),
]
Calibration = Annotated[
    int | None, typer.Option("--calibration", min=1, metavar="N", help="Calibration images.")
]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, metavar="N", help="Threads to measure with.")
]
Ssh = Annotated[
    list[str] | None,
    typer.Option(
        "--ssh",
        metavar="USER@HOST[:PORT]",
        help="Board to measure; repeatable, for boards of one kind that share the work.",
    ),
]
Python = Annotated[
    str, typer.Option("--python", metavar="FILE", help="The board's Python that has the runtime.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

_UNITS: Final = {"": 1.0, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}


def parse_seconds(text: str) -> float:
    """Seconds of "90s", "10min", "2h" or a plain number.

    Raises:
        UsageError: Anything else.
    """
    match = re.fullmatch(r"\s*(\d+\.?\d*)\s*([a-z]*)\s*", text)
    if match is None or match[2] not in _UNITS:
        raise UsageError(f"time {text!r} is not understood: write 90s, 10min or 2h")
    return float(match[1]) * _UNITS[match[2]]


def parse_round_to(text: str | int) -> int | None:
    """A granularity of at least 1, or None for "auto".

    Raises:
        UsageError: Anything else.
    """
    if text == "auto":
        return None
    if not str(text).isdecimal() or int(text) < 1:
        raise UsageError(f"round-to {text!r} is not understood: write auto or a number from 1")
    return int(text)


def parse_resolutions(text: str | list[int]) -> tuple[int, ...] | None:
    """Input sizes, () for "off", None for "auto".

    Raises:
        UsageError: Anything else.
    """
    if text in ("auto", "off"):
        return None if text == "auto" else ()
    parts = [str(part).strip() for part in (text.split(",") if isinstance(text, str) else text)]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"resolutions {text!r} are not understood: write auto, off or 160,192,224")
    return tuple(sorted({int(part) for part in parts}))


def parse_input_shape(text: str) -> tuple[int, ...]:
    """The batch-1 shape of "3x224x224".

    Raises:
        UsageError: Anything else.
    """
    parts = text.lower().split("x")
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"input shape {text!r} is not understood: write 3x224x224")
    return (1, *(int(part) for part in parts))
