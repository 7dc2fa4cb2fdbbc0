"""L1 against sums by hand."""

from __future__ import annotations

from filters import Chain, Stream
from ranked import compressor_for, images_of, orders

from automl.testing.importances import ImportanceContract


def test_the_smallest_sum_of_magnitudes_goes_first() -> None:
    model = Chain([[2.0, 0.0, 0.0], [-0.9, 0.6, 0.6], [0.5, -0.5, 0.5], [0.0, 0.0, 3.0]])
    assert orders("l1", compressor_for(model, images_of(4)))["conv"] == [2, 0, 1, 3]
    assert orders("l2", compressor_for(model, images_of(4)))["conv"] == [2, 1, 0, 3]


def test_layers_that_write_the_same_channels_count_alike_whatever_their_scale() -> None:
    first = [[100.0, 0.0, 0.0], [120.0, 0.0, 0.0], [130.0, 0.0, 0.0]]
    second = [[0.03, 0.0, 0.0], [0.01, 0.0, 0.0], [0.02, 0.0, 0.0]]
    made = compressor_for(Stream(first, second), images_of(4))
    assert orders("l1", made)["one"] == [1, 2, 0]  # by the first alone: 0, 1, 2


class TestL1(ImportanceContract):
    name = "l1"
