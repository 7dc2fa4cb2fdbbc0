"""FPGM takes what is in the middle, not what is small."""

from __future__ import annotations

from filters import Chain
from ranked import compressor_for, images_of, orders

from automl.testing.importances import ImportanceContract


def test_the_filter_amid_the_others_goes_first_however_long_it_is() -> None:
    model = Chain([[5.0, 4.0, 5.0], [5.0, 5.0, 5.0], [5.0, 6.5, 5.0], [0.1, 0.1, 0.1]])
    assert orders("fpgm", compressor_for(model, images_of(4)))["conv"][0] == 1
    assert orders("fpgm", compressor_for(model, images_of(4)))["conv"][-1] == 3
    assert orders("l2", compressor_for(model, images_of(4)))["conv"][0] == 3


class TestFpgm(ImportanceContract):
    name = "fpgm"
