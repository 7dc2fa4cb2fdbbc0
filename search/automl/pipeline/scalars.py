"""Scalars of searches and trainings for TensorBoard, written by torch's own writer as they go."""

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
    """A listener that writes scalars of what it is told into a folder, and then tells the other.

    Of a search, each new trial: a step is the number of trials of the run until then. A run that is
    gone on with writes a further file: trials that have their scalars get none again. Of a
    training, losses and held-back scores by the training's steps: one that is gone on with, or
    begun anew in the same folder, takes the place of what was written from its first step on.

    Args:
        folder: Made with the first scalar.
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
        values = scalars_of(event)
        if values:
            try:
                if not writers:
                    first = None if event.training is None else event.done
                    writers.append(SummaryWriter(str(folder), purge_step=first))
                for name, value in values.items():
                    writers[0].add_scalar(name, value, event.done)
                if event.training is None or event.training.score is not None:
                    writers[0].flush()  # losses are many: they may wait
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
    """What is written of an event, by tag; what is not known or was written before is left out."""
    trial, training = event.trial, event.training
    if training is not None:
        told = {"loss": training.loss, "held-back score": training.score}
        return {f"{event.stage}/{tag}": each for tag, each in told.items() if each is not None}
    if trial is None or trial.stored:
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
