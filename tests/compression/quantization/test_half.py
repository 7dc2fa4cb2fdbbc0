"""Networks of floats as fp16 computes them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from automl.compression import HalfModel, QuantizedModel, in_half


class Small(nn.Module):
    """Convolutions, a residual sum, pooling and a head."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.block = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.head, self.scale = nn.Linear(8, 5), scale

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu() * self.scale
        x = (x + self.block(x)).relu_() / self.scale
        return self.head(x.mean((2, 3)))


def test_weights_and_what_operations_write_are_numbers_of_fp16() -> None:
    model = Small().eval()
    before = {name: each.clone() for name, each in model.state_dict().items()}
    half = HalfModel(model)
    for name, each in half.network.state_dict().items():
        assert torch.equal(each, before[name].half().float())
        assert torch.equal(model.state_dict()[name], before[name])  # a copy is rounded
    found = half(torch.randn(4, 3, 9, 9))
    assert found.dtype == torch.float32
    assert torch.equal(found, found.half().float())
    assert half.beyond == []


def test_it_is_what_torch_computes_in_fp16() -> None:
    model, inputs = Small().eval(), torch.randn(16, 3, 9, 9)
    with torch.no_grad():
        whole, expected = model(inputs), Small().eval().half()(inputs.half()).float()
    found = HalfModel(model)(inputs)
    off = float((found - expected).abs().max() / expected.abs().max())
    assert off < 2e-3
    assert float((found - whole).abs().max()) > 0  # and not what 32 bits compute


def test_what_is_beyond_the_range_becomes_infinite_and_its_module_is_named() -> None:
    half = HalfModel(Small(scale=1e6).eval())
    found = half(torch.randn(2, 3, 9, 9))
    assert not bool(found.isfinite().all())
    assert half.beyond[0] == ""  # the product is in the network's own forward
    assert bool(Small(scale=1e6).eval()(torch.randn(2, 3, 9, 9)).isfinite().all())


def test_a_mask_that_is_infinite_in_32_bits_as_well_is_no_fault() -> None:
    class Masked(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.masked_fill(x < 0, -torch.inf).softmax(1)

    half, inputs = HalfModel(Masked().eval()), torch.randn(8, 6)
    expected = Masked()(inputs)
    assert torch.allclose(half(inputs), expected, atol=1e-3)
    assert half.beyond == []


def test_weights_beyond_the_range_are_clipped_as_in_the_file() -> None:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, 1e5)
    half = HalfModel(layer.eval())
    assert half(torch.tensor([[0.5]])).item() == np.float16(65504 / 2)


@pytest.mark.parametrize("expand", [False, True])
def test_repeated_and_in_place_values(expand: bool) -> None:
    class Repeats(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = x.mean(1, keepdim=True).expand(-1, 4) if expand else x.clone().mul_(1 / 3)
            return x.add(0.1).view(-1, 2, 2).permute(0, 2, 1)

    inputs = torch.randn(5, 4)
    found = HalfModel(Repeats().eval())(inputs)
    assert torch.equal(found, found.half().float())
    assert torch.allclose(found, Repeats()(inputs), atol=2e-3)


def test_integers_are_judged_as_they_are() -> None:
    quantized = QuantizedModel.__new__(QuantizedModel)
    nn.Module.__init__(quantized)
    assert in_half(quantized) is quantized
    assert isinstance(in_half(nn.ReLU()), HalfModel)
