"""Scalars of a search for TensorBoard, written by torch's own writer as trials end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from automl.errors import StudyError, UsageError
from automl.pipeline.requests import Event, OnEvent

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

#: In the run folder.
FOLDER: Final = "tensorboard"


@contextlib.contextmanager
def with_scalars(folder: Path, on_event: OnEvent) -> Iterator[OnEvent]:
    """A listener that writes scalars of each new trial into a folder, and then tells the other.

    A step is the number of trials of the run until then. A run that is gone on with writes a
    further file: trials that have their scalars get none again.

    Args:
        folder: Made with the first trial.
        on_event: Told of all.

    Raises:
        UsageError: tensorboard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UsageError(
            "scalars for TensorBoard need the package tensorboard: pip install tensorboard",
            options=("tensorboard",),
        ) from None
    writers: list[SummaryWriter] = []

    def listen(event: Event) -> None:
        if event.trial is not None and not event.trial.stored:
            try:
                if not writers:
                    writers.append(SummaryWriter(str(folder)))
                for name, value in scalars_of(event).items():
                    writers[0].add_scalar(name, value, event.done)
                writers[0].flush()
            except OSError as error:
                said = f"{folder} cannot be written: {error.strerror}"
                raise StudyError(said, options=("tensorboard",)) from error
        on_event(event)

    try:
        yield listen
    finally:
        for writer in writers:
            writer.close()


def scalars_of(event: Event) -> dict[str, float]:
    """What is written of a trial, by tag; what is not known is left out."""
    trial = event.trial
    if trial is None:
        return {}
    cycles = trial.course.unit == "cycles"
    name, scale = ("latency_cycles", 1.0) if cycles else ("latency_ms", 1e3)
    found = {
        "trial/score": trial.score,
        f"trial/{name}": None if trial.latency is None else scale * trial.latency,
        "trial/MACs": trial.macs,
        "trial/bytes": trial.bytes,
        "trial/seconds": trial.seconds,
        "best/score": event.best,
    }
    return {tag: value for tag, value in found.items() if value is not None}
