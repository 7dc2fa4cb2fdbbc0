"""fvcore's count of a finished network: of what it knows, and what it says that it does not."""

from __future__ import annotations

import warnings

import torch
from specimens import specimen
from torch import nn
from torch.nn import functional as F

from automl.export.counting import count_macs


class Attending(nn.Module):
    """Attention that fvcore cannot count, between linear layers that it can."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)
        self.out = nn.Linear(8, 8)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        queries, keys, values = self.qkv(tokens).chunk(3, dim=-1)
        return self.out(F.scaled_dot_product_attention(queries, keys, values))


def test_the_count_is_that_of_the_traced_layers() -> None:
    each = specimen("inverted")
    found = count_macs(each.traced.model, each.traced.network.input_shape)
    assert found.macs == sum(layer.macs for layer in each.traced.network.layers)
    assert found.unknown == ()


def test_what_fvcore_does_not_know_is_named() -> None:
    found = count_macs(Attending().eval(), (1, 5, 8))
    assert found.macs == 5 * (8 * 24 + 8 * 8)
    assert found.unknown == ("scaled_dot_product_attention",)


def test_counting_leaves_no_trace() -> None:
    model, fused = nn.Conv2d(1, 2, 3).eval(), torch.backends.mha.get_fastpath_enabled()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert count_macs(model, (1, 1, 5, 5)).macs == 2 * 9 * 9
    assert torch.backends.mha.get_fastpath_enabled() == fused
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
