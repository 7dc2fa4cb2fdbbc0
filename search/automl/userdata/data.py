"""Calibration, validation and test data, decoded once and kept in memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from automl.errors import DataError

#: Most bytes of inputs that are kept of one part of the data.
MAX_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Batches:
    """Decoded (input, target) batches that can be iterated again and again.

    Attributes:
        pairs: Inputs of shape (batch, ...), float; targets of whatever form the score reads.
        whole: False where the source held more than was kept.
    """

    pairs: tuple[tuple[torch.Tensor, Any], ...]
    whole: bool = True

    def __iter__(self) -> Iterator[tuple[torch.Tensor, Any]]:
        return iter(self.pairs)

    def __len__(self) -> int:
        """Number of batches."""
        return len(self.pairs)

    @property
    def images(self) -> int:
        """Number of inputs in all batches."""
        return sum(len(inputs) for inputs, _ in self.pairs)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one batch-1 input."""
        return (1, *self.pairs[0][0].shape[1:])

    @property
    def inputs(self) -> torch.Tensor:
        """All inputs as one tensor, shape (images, ...)."""
        return torch.cat([inputs for inputs, _ in self.pairs])

    def head(self, images: int) -> Batches:
        """The first `images` inputs, or all where there are fewer."""
        kept = tuple(_first(self.pairs, images))
        return Batches(kept, self.whole and images >= self.images)


@dataclass(frozen=True, slots=True)
class Data:
    """What a search may look at, and what it may not.

    Attributes:
        calibration: Statistics and refits read these inputs; their targets are not needed.
        validation: Candidates are scored on these.
        test: Read only for the final figures; None where the user gave none.
        training: What fine-tuning runs over, once an epoch, as the user's loader yields it; None
            where it can be read only once, and the calibration batches must serve.
    """

    calibration: Batches
    validation: Batches
    test: Batches | None = None
    training: Iterable[Any] | None = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one batch-1 input."""
        return self.validation.input_shape


def read_batches(source: Iterable[Any], part: str, images: int) -> Batches:
    """Read at most `images` inputs, and at most `MAX_BYTES` of them, into memory.

    Args:
        source: Yields (input, target) batches; inputs are float tensors of one shape.
        part: What the source is, for errors ("validation").
        images: Most inputs to keep.

    Raises:
        DataError: A batch is not a pair, not a float tensor, not finite, or of another shape than
            the first; or there is none.
    """
    pairs: list[tuple[torch.Tensor, Any]] = []
    kept = kept_bytes = 0
    iterator = iter(source)
    for number, batch in enumerate(iterator):
        inputs, targets = _checked(batch, f"{part} batch {number}")
        if pairs and inputs.shape[1:] != pairs[0][0].shape[1:]:
            raise DataError(
                f"{part} batch {number} has inputs of shape {tuple(inputs.shape[1:])}, "
                f"batch 0 has {tuple(pairs[0][0].shape[1:])}"
            )
        each = inputs[0].numel() * inputs.element_size()
        room = min(images - kept, (MAX_BYTES - kept_bytes) // max(each, 1))
        taken = list(_first([(inputs, targets)], max(room, 1 if not pairs else 0)))
        pairs.extend(taken)
        now = sum(len(some) for some, _ in taken)
        kept, kept_bytes = kept + now, kept_bytes + now * each
        if now < len(inputs):
            return Batches(tuple(pairs), whole=False)
        if kept >= images:
            break
    if not pairs:
        raise DataError(f"the {part} data is empty; it must yield (input, target) batches")
    return Batches(tuple(pairs), whole=not any(True for _ in itertools.islice(iterator, 1)))


def _first(pairs: Iterable[tuple[torch.Tensor, Any]], images: int) -> Iterator[tuple[Any, Any]]:
    for inputs, targets in pairs:
        if images <= 0:
            return
        count = min(images, len(inputs))
        yield inputs[:count], _first_targets(targets, count, len(inputs))
        images -= count


def _first_targets(targets: Any, count: int, batch: int) -> Any:
    """The targets of the first inputs: tensors and sequences are cut, mappings value by value."""
    if count == batch:
        return targets
    if isinstance(targets, torch.Tensor | list | tuple) and len(targets) == batch:
        return targets[:count]
    if isinstance(targets, dict):
        return {key: _first_targets(value, count, batch) for key, value in targets.items()}
    return targets


def _checked(batch: Any, where: str) -> tuple[torch.Tensor, Any]:
    if not isinstance(batch, list | tuple) or len(batch) != 2:
        raise DataError(f"{where} is {_kind(batch)}, expected an (input, target) pair")
    inputs, targets = batch
    if not isinstance(inputs, torch.Tensor):
        raise DataError(f"{where} has {_kind(inputs)} as its input, expected a torch tensor")
    if inputs.ndim < 2 or not len(inputs):
        raise DataError(
            f"{where} has an input of shape {tuple(inputs.shape)}, expected (batch, ...)"
        )
    if not inputs.is_floating_point():
        raise DataError(
            f"{where} has {inputs.dtype} inputs, expected float (scale the images first)"
        )
    if not torch.isfinite(inputs).all():
        raise DataError(f"{where} has inputs that are NaN or infinite")
    return inputs.detach().to("cpu"), targets


def _kind(value: object) -> str:
    size = f" of {len(value)}" if isinstance(value, list | tuple) else ""
    return f"a {type(value).__name__}{size}"
