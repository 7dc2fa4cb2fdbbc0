"""L2 against lengths by hand."""

from __future__ import annotations

from filters import Chain
from ranked import compressor_for, images_of, orders

from automl.testing.importances import ImportanceContract


def test_the_shortest_filter_goes_first() -> None:
    model = Chain([[0.0, 3.0, 4.0], [4.9, 0.0, 0.0], [3.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
    assert orders("l2", compressor_for(model, images_of(4)))["conv"] == [3, 1, 0, 2]


class TestL2(ImportanceContract):
    name = "l2"
