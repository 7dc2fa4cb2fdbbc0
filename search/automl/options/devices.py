"""Options of measuring a device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from automl.latency import CPU_RUNTIME
from automl.options.declare import option
from automl.options.kinds import PATH, method, text
from automl.options.search import SpaceOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileOptions(SpaceOptions):
    """Which operators are measured, on what, and what is read in place of measuring."""

    target: str = option(text("NAME"), "cpu", help="Device, or path of a table.")
    ops: Path | None = option(PATH, None, help="Operators to measure, or .tflite networks.")
    runtime: str | None = option(
        method("runtimes"),
        None,
        help="What executes operators: see automl methods.",
        shown=CPU_RUNTIME,
    )
    calibrate: Path | None = option(
        PATH, None, help="CSV of whole networks' times, to fit to in place of measuring."
    )
    like: str | None = option(text("TARGET"), None, help="Known device to calibrate from.")
    profile: Path | None = option(
        PATH,
        None,
        help="Read a profile of trtexec, ONNX Runtime or TFLite.",
        written="import",
    )
    layer_info: Path | None = option(PATH, None, help="trtexec's layer info of that profile.")
    precision: str | None = option(text("NAME"), None, help="Of a profile that does not tell it.")
