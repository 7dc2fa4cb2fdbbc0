"""Fisher's squares are those of the outputs' error, to first order."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from ranked import compressor_for, group_of, images_of
from small import Plain, seeded

from automl.testing.importances import ImportanceContract


def test_in_the_mean_over_signs_it_is_the_squared_error_of_a_small_change() -> None:
    images = images_of(600)
    made = compressor_for(seeded(Plain), images)
    group = group_of(made, "second")  # read by a linear head: the first order is all there is
    found = made.statistics.gradients(group, "logits").double().square().mean(0)
    for channel in range(group.channels):
        model = copy.deepcopy(made.traced.model)
        head: Any = model.get_submodule("head")
        with torch.no_grad():
            head.weight[:, channel] = 0.0
            gap = made.traced.model(images) - model(images)
            scale = made.traced.model(images[:64]).var(0).mean()
        expected = float(gap.square().sum(1).mean() / scale)
        assert float(found[channel]) == pytest.approx(expected, rel=0.2)


class TestFisher(ImportanceContract):
    name = "fisher"
