"""Batches as people's loaders yield them, checked, and made into floats that are kept."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from operator import length_hint
from typing import Any, Final

import numpy as np
import torch

from automl.errors import DataError
from automl.network import InputForm, form_of
from automl.userdata import data
from automl.userdata.data import Batches, first_inputs
from automl.userdata.inputs import Coded, coded

Tensor = torch.Tensor
#: Keys under which a batch that is a mapping holds its targets.
TARGETS: Final = ("labels", "label", "targets", "target", "y")
#: Most inputs of one epoch where the training data does not say how much it is.
EPOCH: Final = 10_000


def read_batches(source: Iterable[Any], part: str, images: int) -> Batches:
    """Read at most `images` inputs, and at most `MAX_BYTES` of them, into memory.

    What a loader yields is copied, for it may write the next batch in the same place; pictures of 8
    bits are kept as their codes.

    Args:
        source: Yields batches as `parted` takes them, whose inputs are all of one form.
        part: What the source is, for errors ("validation").
        images: Most inputs to keep.

    Raises:
        DataError: A batch is not as `parted` takes it, not finite, or of another form than the
            first; or there is none.
    """
    pairs: list[tuple[Tensor | Coded, Any]] = []
    form: InputForm | None = None
    kept = kept_bytes = 0
    copied = not isinstance(source, list | tuple | Batches)
    iterator = iter(source)
    for number, batch in enumerate(iterator):
        where = f"{part} batch {number}"
        given, targets = parted(batch, where)
        form = form or _form_of(given, where)
        floats = packed(form, given, where, copied=copied)
        inputs = coded(floats) if copied else floats
        each = inputs.nbytes // len(inputs)
        room = min(images - kept, (data.MAX_BYTES - kept_bytes) // max(each, 1))
        targets = _copied(targets) if copied else targets
        taken = list(first_inputs([(inputs, targets)], max(room, 1 if not pairs else 0)))
        pairs.extend(taken)
        now = sum(len(some) for some, _ in taken)
        kept, kept_bytes = kept + now, kept_bytes + now * each
        if now < len(inputs):
            return _batches(pairs, form, whole=False)
        if kept >= images:
            break
    if form is None:
        raise DataError(f"the {part} data is empty; it must yield (input, target) batches")
    return _batches(pairs, form, whole=not any(True for _ in itertools.islice(iterator, 1)))


def _batches(pairs: list[tuple[Tensor | Coded, Any]], form: InputForm, *, whole: bool) -> Batches:
    return Batches(tuple(pairs), whole, None if form.plain else form)


def parted(batch: Any, where: str) -> tuple[Any, Any]:
    """The inputs of a batch and its targets, None where it has none.

    A batch is a pair of inputs and targets, the inputs alone, or a mapping that may hold its
    targets under one of the names `TARGETS`.

    Args:
        batch: What a loader yields.
        where: Which one it is, for errors.

    Raises:
        DataError: It is something else.
    """
    if isinstance(batch, Tensor | np.ndarray):
        return batch, None
    if isinstance(batch, Mapping):
        key = next((each for each in TARGETS if each in batch), None)
        inputs = {name: value for name, value in batch.items() if name != key}
        return inputs, None if key is None else batch[key]
    if isinstance(batch, list | tuple) and len(batch) in (1, 2):
        return batch[0], batch[1] if len(batch) == 2 else None
    size = f" of {len(batch)}" if isinstance(batch, list | tuple) else ""
    raise DataError(
        f"{where} is a {type(batch).__name__}{size}, expected an (input, target) pair; of several"
        " inputs write ((a, b), target)"
    )


def _form_of(inputs: Any, where: str) -> InputForm:
    try:
        return form_of(inputs)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from None


def packed(form: InputForm, inputs: Any, where: str, *, copied: bool) -> Tensor:
    """The inputs of a batch as floats.

    Raises:
        DataError: They are of another form, or not finite.
    """
    try:
        floats = form.pack(inputs, copied=copied)
    except ValueError as error:
        raise DataError(f"{where}, unlike batch 0: {error}") from None
    if not torch.isfinite(floats).all():
        raise DataError(f"{where} has inputs that are NaN or infinite")
    return floats


def _copied(value: Any) -> Any:
    """Targets of their own memory, as far as they are tensors and arrays."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, dict):
        return {key: _copied(held) for key, held in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_copied, value))
    return value


class TrainingBatches:
    """What a recovery trains on: one epoch each time that it is iterated.

    Where the source does not say how many batches it has, an epoch ends after `EPOCH` inputs, and
    the next one goes on from there: it may never end.

    Args:
        source: The user's loader.
        form: Of its inputs; None where they are one float tensor.

    Attributes:
        source: As given.
        cut: Whether an epoch was ended before the source did.
    """

    def __init__(self, source: Iterable[Any], form: InputForm | None) -> None:
        self.source, self.cut = source, False
        self._form = form
        self._left: Iterator[Any] | None = None

    def __length_hint__(self) -> int:
        """Batches of an epoch, where the source says it."""
        length = length_hint(self.source, -1)
        return length if length >= 0 else NotImplemented

    def __iter__(self) -> Iterator[tuple[Tensor, Any]]:
        length = length_hint(self.source, -1)
        if length >= 0:
            yield from self._checked(itertools.islice(iter(self.source), length))
            return
        seen = 0
        left = iter(self.source) if self._left is None else self._left
        self._left = None
        for inputs, targets in self._checked(left):
            yield inputs, targets
            seen += len(inputs)
            if seen >= EPOCH:
                self.cut, self._left = True, left
                return

    def _checked(self, batches: Iterable[Any]) -> Iterator[tuple[Tensor, Any]]:
        for number, batch in enumerate(batches):
            where = f"training batch {number}"
            given, targets = parted(batch, where)
            form = self._form or _form_of(given, where)
            yield packed(form, given, where, copied=False), targets
