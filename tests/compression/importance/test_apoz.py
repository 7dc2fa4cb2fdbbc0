"""Shares of zeros."""

from __future__ import annotations

import torch
from filters import Chain
from ranked import compressor_for, images_of, orders
from small import Joined, seeded

from automl.testing.importances import ImportanceContract


def test_what_is_zero_most_often_goes_first_however_large_it_is_elsewhere() -> None:
    model = Chain([[100.0, 0.0, 0.0], [0.1, 0.0, 0.0], [0.0, 1.0, 0.0]])
    made = compressor_for(model, images_of(30))
    with torch.no_grad():
        made.traced.model.conv.bias.copy_(torch.tensor([-120.0, 0.1, 0.0]))  # type: ignore[union-attr, operator]
    assert orders("apoz", made)["conv"] == [0, 2, 1]
    assert orders("activation", made)["conv"][-1] == 0


def test_a_group_without_a_relu_goes_by_its_magnitude() -> None:
    made = compressor_for(seeded(Joined), images_of(8))
    assert orders("apoz", made)["right"] == orders("activation", made)["right"]


class TestApoz(ImportanceContract):
    name = "apoz"
