"""Shared values that are trained: each weight keeps its cluster."""

from __future__ import annotations

import torch
from torch import nn

from automl.compression import Codebook
from automl.recovery.base import GivenWeights, WeightRounding

Tensor = torch.Tensor


class TrainedCentroids(WeightRounding):
    """The shared values of a codebook are trained, and who has which stays as it is.

    The gradient by a shared value is the sum over the weights of its cluster. A shared value that
    is zero, as where weights are left out, stays zero.
    Source: Han et al. 2016 (Deep Compression), section 3.3.
    """

    reads_numbers = False

    def __init__(self, given: GivenWeights, known: Codebook) -> None:
        super().__init__(given.seed)
        self._bits = known.bits
        self.entries = nn.Parameter(known.entries.clone())
        self._indices: Tensor
        self._kept: Tensor
        self.register_buffer("_indices", known.indices.long().view(given.weights.shape))
        self.register_buffer("_kept", (known.entries != 0).float())

    def forward(self, weights: Tensor) -> Tensor:
        """Each weight's shared value; the weights themselves are not read."""
        found: Tensor = (self.entries * self._kept)[self._indices]
        return found

    def frozen(self, weights: Tensor) -> tuple[Tensor, Codebook]:
        """The shared values in ascending order, and who has which."""
        entries = (self.entries * self._kept).detach().cpu()
        ascending, order = entries.sort(stable=True)
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order))
        indices = place[self._indices.cpu()].to(torch.uint8)
        book = Codebook(ascending.contiguous(), indices, self._bits)
        return book.values(), book
