"""Variances of what channels add."""

from __future__ import annotations

import torch
from ranked import compressor_for, images_of, orders
from small import Plain, seeded

from automl.testing.importances import ImportanceContract


def test_a_channel_that_is_always_the_same_goes_first_however_large() -> None:
    """Its mean goes into the bias; the activation criterion would keep it longest."""
    model, images = seeded(Plain), images_of(16)
    with torch.no_grad():
        model.second.padding, model.second.kernel_size = (0, 0), (1, 1)  # type: ignore[union-attr, assignment]
        model.second.weight = torch.nn.Parameter(model.second.weight[:, :, :1, :1].clone())  # type: ignore[index, union-attr]
        model.first.weight[3] = 0.0  # type: ignore[operator, index]
        model.first.bias[3] = 50.0  # type: ignore[operator, index]
    made = compressor_for(model, images)
    found = orders("inbound", made)["first"]
    assert found[0] == 3
    assert orders("activation", made)["first"][-1] == 3


class TestInbound(ImportanceContract):
    name = "inbound"
