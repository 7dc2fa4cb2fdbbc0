"""Inputs of batches by their numbers, read where they stand; pictures of 8 bits as their codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Final

import torch

Tensor = torch.Tensor
#: Values that a code tells apart.
_CODES: Final = 256
#: Numbers of a channel from which on codes and their values are clearly smaller than floats.
_WORTH: Final = 16 * _CODES


@dataclass(frozen=True, slots=True)
class Coded:
    """Floats of at most 256 different values a channel, exactly, in a quarter of their bytes.

    Attributes:
        codes: uint8 [inputs, channels, ...].
        values: float32 [channels, 256]: what the codes of a channel stand for.
    """

    codes: Tensor
    values: Tensor

    @property
    def shape(self) -> torch.Size:
        """Of the floats."""
        return self.codes.shape

    @property
    def nbytes(self) -> int:
        """Bytes of the codes."""
        return self.codes.nbytes

    def __len__(self) -> int:
        """How many inputs there are."""
        return len(self.codes)

    def __getitem__(self, here: slice | Tensor) -> Tensor:
        """The floats of some inputs."""
        codes = self.codes[here]
        found = torch.empty(codes.shape, dtype=self.values.dtype)
        for channel, values in enumerate(self.values):
            index = codes[:, channel].reshape(-1).int()
            found[:, channel] = values.index_select(0, index).view_as(found[:, channel])
        return found

    def first(self, count: int) -> Coded:
        """The first inputs, as codes."""
        return Coded(self.codes[:count], self.values)


def coded(inputs: Tensor) -> Tensor | Coded:
    """Inputs as codes where these are exact and smaller; the inputs themselves where not.

    A view of a larger tensor is left as it is: somebody holds that anyway.
    """
    a_view = inputs.untyped_storage().nbytes() > inputs.nbytes
    if a_view or inputs.dtype != torch.float32 or inputs.dim() < 3:
        return inputs
    if inputs[:, 0].numel() < _WORTH:
        return inputs
    bits = inputs.contiguous().view(torch.int32)  # zeros of either sign are two values
    codes = torch.empty(inputs.shape, dtype=torch.uint8)
    values = torch.zeros(inputs.shape[1], _CODES, dtype=torch.int32)
    for channel in range(inputs.shape[1]):
        own = bits[:, channel].contiguous()
        known = own[0].unique()  # of most inputs that have too many one shows it
        if len(known) > _CODES:
            return inputs
        places = _places(own, known)
        others = own[known[places] != own].unique()
        if len(known) + len(others) > _CODES:
            return inputs
        if len(others):
            known = torch.cat([known, others]).sort().values
            places = _places(own, known)
        codes[:, channel] = places
        values[channel, : len(known)] = known
    return Coded(codes, values.view(torch.float32))


def _places(own: Tensor, known: Tensor) -> Tensor:
    """Where values stand among known ones, ascending; anywhere where they do not."""
    return torch.bucketize(own, known, out_int32=True).clamp_(max=len(known) - 1)


@dataclass(frozen=True)
class Inputs:
    """Inputs by their numbers, as a tensor's first dimension; only what is asked for is copied.

    Attributes:
        batches: What they are read from, at least one batch.
    """

    batches: Sequence[Tensor | Coded]

    @cached_property
    def _starts(self) -> tuple[int, ...]:
        return tuple(accumulate((len(batch) for batch in self.batches), initial=0))

    @property
    def shape(self) -> torch.Size:
        """Inputs first."""
        return torch.Size((len(self), *self.batches[0].shape[1:]))

    @property
    def nbytes(self) -> int:
        """Bytes that they are held in."""
        return sum(batch.nbytes for batch in self.batches)

    def __len__(self) -> int:
        """How many there are."""
        return self._starts[-1]

    def __getitem__(self, here: slice | Tensor) -> Tensor:
        """Those between two numbers, or those of some numbers, in their order."""
        if isinstance(here, slice):
            first, end, _ = here.indices(len(self))
            parts = [
                batch[max(first - start, 0) : end - start]
                for batch, (start, stop) in zip(self.batches, pairwise(self._starts), strict=True)
                if start < end and first < stop
            ]
            return torch.cat(parts) if len(parts) != 1 else parts[0]
        found = torch.empty(len(here), *self.shape[1:], dtype=self.batches[0][:0].dtype)
        for batch, (start, stop) in zip(self.batches, pairwise(self._starts), strict=True):
            mine = (here >= start) & (here < stop)
            if mine.any():
                found[mine] = batch[here[mine] - start]
        return found
