"""Activations against means by hand."""

from __future__ import annotations

import pytest
import torch
from ranked import compressor_for, images_of, orders
from small import Plain, Shortcuts, seeded
from torch.nn import functional as F

from automl.compression.importance.activation import Activation
from automl.compression.importance.scored import alike
from automl.errors import UsageError
from automl.testing.importances import ImportanceContract


def test_the_channel_of_the_smallest_values_goes_first() -> None:
    model, images = seeded(Plain), images_of(6)
    with torch.no_grad():
        values = F.relu(model.first(images))  # type: ignore[operator]
    made = compressor_for(model, images)
    assert orders("activation", made)["first"] == values.mean((0, 2, 3)).argsort().tolist()
    largest = values.amax((2, 3)).mean(0)
    assert orders("activation:pool=max", made)["first"] == largest.argsort().tolist()


def test_each_value_of_a_residual_stream_counts_alike() -> None:
    made = compressor_for(seeded(Shortcuts), images_of(6))
    group = made.traced.network.groups[0]
    parts = [each.size.mean(0) for each in made.statistics.activations(group)]
    assert len(parts) == 3
    assert orders("activation", made)[group.name] == alike(parts).argsort().tolist()
    scaled = alike([1000 * parts[0], *parts[1:]])
    torch.testing.assert_close(scaled, alike(parts))


def test_another_pool_is_refused() -> None:
    with pytest.raises(UsageError, match="by mean or max, not by 'min'"):
        Activation(pool="min")


class TestActivation(ImportanceContract):
    name = "activation"
