"""Shared values: a gradient is the sum over the cluster, and zero stays zero."""

from __future__ import annotations

import torch

from automl.compression.quantization.codebook import Codebook
from automl.policy.policy import Bits
from automl.recovery.base import GivenWeights
from automl.recovery.quantizers.centroids import TrainedCentroids
from automl.testing import TrainedQuantizerContract

INDICES = torch.tensor([[[0, 1, 2, 2], [1, 0, 0, 2]]], dtype=torch.uint8)


class TestCentroids(TrainedQuantizerContract):
    name = "lsq"
    bits = Bits(3, 32)


def made() -> tuple[TrainedCentroids, torch.Tensor]:
    book = Codebook(torch.tensor([-1.0, 0.0, 2.0]), INDICES, 2)
    return TrainedCentroids(GivenWeights(book.values(), book, Bits(2, 32)), book), book.values()


def test_a_shared_values_gradient_is_the_sum_over_its_cluster() -> None:
    rounding, weights = made()
    slope = torch.arange(8.0).view(1, 2, 4)
    rounding(weights).backward(slope)
    assert rounding.entries.grad is not None
    assert rounding.entries.grad.tolist() == [0 + 5 + 6, 0, 2 + 3 + 7]  # that of zero stays


def test_values_that_changed_places_are_exported_in_order() -> None:
    rounding, weights = made()
    with torch.no_grad():
        rounding.entries.copy_(torch.tensor([3.0, 9.0, 2.0]))
    values, book = rounding.frozen(weights)
    assert book.entries.tolist() == [0.0, 2.0, 3.0]
    assert torch.equal(values, rounding(weights))
