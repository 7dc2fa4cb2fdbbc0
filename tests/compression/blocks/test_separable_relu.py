"""Depthwise, ReLU, pointwise."""

from __future__ import annotations

import torch

from automl.compression import build
from automl.testing import BlockContract


class TestSeparableRelu(BlockContract):
    name = "separable-relu"


def test_it_begins_with_the_nearest_pairs_of_kernels() -> None:
    """A convolution that is separable stays what it is, where nothing of it is negative."""
    contract = TestSeparableRelu()
    traced = contract.traced()
    unit = contract.units(traced)[0]
    generator = torch.Generator().manual_seed(0)
    layer = torch.nn.Conv2d(16, 16, 3, padding=1)
    taps = torch.rand(16, 1, 3, 3, generator=generator)
    points = torch.randn(16, 16, generator=generator)
    with torch.no_grad():
        layer.weight.copy_(points[:, :, None, None] * taps[:, 0][None])
    built = build(contract.form, unit, generator)
    contract.form.begin(unit, [layer, layer], built)
    depth, point = built.convolutions[:2]
    values = torch.rand(2, 16, 8, 8, generator=generator)
    found = point(torch.relu(depth(values)))
    assert torch.allclose(found, layer(values), atol=1e-4)
