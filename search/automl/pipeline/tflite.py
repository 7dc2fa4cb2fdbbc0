"""Whole networks timed in a runtime that takes .tflite files; nothing here makes them."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Final

from automl.errors import UsageError
from automl.pipeline.requests import Event, OnEvent, ProfileRequest, ProfileResult
from automl.pipeline.runners import open_runner, table_path
from automl.profiling import find_runtime, measure_models
from automl.units import format_seconds

_IDENTIFIER: Final = b"TFL3"  # at byte 4 of every file


def time_networks(request: ProfileRequest, on_event: OnEvent) -> ProfileResult:
    """The times of the request's .tflite files, as notes; no table gains rows.

    Calibrating takes them as a CSV of models and their milliseconds.

    Raises:
        UsageError: No .tflite file is named, or one cannot be read.
        MeasureError: The device cannot be reached, lacks the runtime or refuses a network.
    """
    title = find_runtime(request.runtime).title
    models = read_networks(request.ops, title)
    on_event(Event("measuring", 0, len(models)))
    with ExitStack() as stack:
        runner = open_runner(request, stack)
        timings = measure_models(models, runner)
    lines = [
        f"{name}: {format_seconds(timing.seconds)} ± {100 * timing.spread:.1f} %"
        for name, timing in timings.items()
    ]
    info = runner.info
    return ProfileResult(
        target=f"{request.target}: {title} {info.version}, threads {info.threads}, {info.machine}",
        table_path=table_path(request.target),
        asked=0,
        known=0,
        measured=0,
        notes=(
            *lines,
            "whole networks make no rows: write them to a CSV file, which calibrating takes",
        ),
    )


def read_networks(path: Path | None, title: str) -> dict[str, bytes]:
    """Contents of a .tflite file, or of all in a folder, by file name.

    Args:
        path: The file or folder.
        title: The runtime's name for people.

    Raises:
        UsageError: There is none, or one that is no such file.
    """
    if path is None or not (path.suffix == ".tflite" or path.is_dir()):
        raise UsageError(
            f"{title} times whole networks: name a .tflite file or a folder of them in place of"
            " operators (there is no converter here, so operators cannot be measured with it)",
            options=("ops",),
        )
    files = sorted(path.glob("*.tflite")) if path.is_dir() else [path]
    if not files:
        raise UsageError(f"no .tflite file in {path}")
    found = {}
    for file in files:
        try:
            found[file.name] = file.read_bytes()
        except OSError as error:
            raise UsageError(f"network {file}: {error.strerror}") from error
        if found[file.name][4:8] != _IDENTIFIER:
            raise UsageError(f"network {file}: not a .tflite file")
    return found
