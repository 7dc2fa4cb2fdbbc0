"""Calibration, validation and test data, decoded once and kept in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from automl.network import InputForm
from automl.userdata.inputs import Coded, Inputs

if TYPE_CHECKING:
    from automl.userdata.reading import TrainingBatches

#: Most bytes that the inputs of one part of the data are kept in.
MAX_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Batches:
    """Decoded (input, target) batches that can be iterated again and again.

    Attributes:
        pairs: Inputs of shape (batch, ...), float, or their codes; targets of whatever form the
            score reads, None where there are none. Iterating gives the floats.
        whole: False where the source held more than was kept.
        form: What the inputs were before they were floats; None where they were one float tensor.
    """

    pairs: tuple[tuple[torch.Tensor | Coded, Any], ...]
    whole: bool = True
    form: InputForm | None = None

    def __iter__(self) -> Iterator[tuple[torch.Tensor, Any]]:
        for inputs, targets in self.pairs:
            yield inputs[:] if isinstance(inputs, Coded) else inputs, targets

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
        """All inputs as one tensor of its own, shape (images, ...): meant for few."""
        return torch.cat([inputs for inputs, _ in self])

    @property
    def by_number(self) -> Inputs:
        """All inputs, read where they stand."""
        return Inputs([inputs for inputs, _ in self.pairs])

    def head(self, images: int) -> Batches:
        """The first `images` inputs, or all where there are fewer."""
        kept = tuple(first_inputs(self.pairs, images))
        return Batches(kept, self.whole and images >= self.images, self.form)


@dataclass(frozen=True, slots=True)
class Data:
    """What a search may look at, and what it may not.

    Attributes:
        calibration: Statistics and refits read these inputs; their targets are not needed.
        validation: Candidates are scored on these.
        test: Read only for the final figures; None where the user gave none.
        training: What a recovery trains on, once an epoch; None where it can be read only once,
            and the calibration batches must serve.
    """

    calibration: Batches
    validation: Batches
    test: Batches | None = None
    training: TrainingBatches | None = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one batch-1 input."""
        return self.validation.input_shape

    @property
    def form(self) -> InputForm | None:
        """What the inputs were before they were floats; None where they were one float tensor."""
        return self.validation.form


def first_inputs(
    pairs: Iterable[tuple[torch.Tensor | Coded, Any]], images: int
) -> Iterator[tuple[torch.Tensor | Coded, Any]]:
    """The first inputs of batches with their targets."""
    for inputs, targets in pairs:
        if images <= 0:
            return
        count = min(images, len(inputs))
        few = inputs.first(count) if isinstance(inputs, Coded) else inputs[:count]
        yield few, _first_targets(targets, count, len(inputs))
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
