"""Tensors that modules hold in dicts and lists, and what is made of others and kept."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from exact import gap, scrambled, some
from torch import Tensor, nn

from automl.network.held import constants_of, find_caches, forget, held_tensor, places_of
from automl.network.surgery import smaller
from automl.network.traced_model import trace_network

SHAPE = (1, 6, 8)


class Biased(nn.Module):
    """Attention whose biases are looked up in a table once, and kept from then on (LeViT's)."""

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.embed, self.qkv = nn.Linear(8, width), nn.Linear(width, 3 * width)
        self.o, self.head, self.heads = nn.Linear(width, width), nn.Linear(width, 4), heads
        self.biases = nn.Parameter(torch.randn(heads, 6))
        self.at: Tensor
        self.register_buffer("at", (torch.arange(6)[:, None] - torch.arange(6)).abs())
        self.kept: dict[str, Tensor] = {}

    def bias(self, device: torch.device) -> Tensor:
        if self.training:
            return self.biases[:, self.at]
        if str(device) not in self.kept:
            self.kept[str(device)] = self.biases[:, self.at]
        return self.kept[str(device)]

    def train(self, mode: bool = True) -> Biased:
        super().train(mode)
        if mode:
            self.kept = {}
        return self

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        size = x.shape[-1] // self.heads
        q, k, v = self.qkv(x).view(*x.shape[:2], self.heads, -1).split([size] * 3, dim=3)
        scores = q.permute(0, 2, 1, 3) @ k.permute(0, 2, 3, 1) * size**-0.5 + self.bias(x.device)
        mixed = (scores.softmax(-1) @ v.transpose(1, 2)).transpose(1, 2).flatten(2)
        head: Tensor = self.head((x + self.o(mixed)).mean(1))
        return head


class MadeByEval(Biased):
    """The same, made when the network is put into evaluation mode."""

    def bias(self, device: torch.device) -> Tensor:
        return self.biases[:, self.at] if self.training else self.table

    @torch.no_grad()
    def train(self, mode: bool = True) -> MadeByEval:
        super().train(mode)
        if mode:
            self.__dict__.pop("table", None)
        else:
            self.table = self.biases[:, self.at]
        return self


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("kind", [Biased, MadeByEval])
def test_heads_are_cut_with_their_biases_wherever_these_are_kept(
    kind: type[Biased], used: bool
) -> None:
    torch.manual_seed(0)
    model = scrambled(kind())
    if used:
        model(torch.randn(SHAPE))
    traced = trace_network(model, SHAPE)
    assert 4 in [group.channels for group in traced.network.groups]
    assert not traced.network.unprunable
    kept = some(traced)
    wrong, effect = gap(traced, SHAPE, kept)
    assert wrong < 1e-12 < 1e-3 < effect
    small, x = smaller(traced.model, traced.network.groups, kept), torch.randn(SHAPE)
    expected = small(x)
    torch.testing.assert_close(copy.deepcopy(small).train().eval()(x), expected)
    assert small.train()(x).isfinite().all()


class Listed(nn.Module):
    """Scales of channels in a list, shifts in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(8, 12), nn.Linear(12, 4)
        self.scales = [torch.rand(12) + 0.5, torch.rand(12) + 0.5]
        self.shifts = {"a": torch.rand(12)}

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x) * self.scales[0].to(x.dtype) * self.scales[1].to(x.dtype)
        head: Tensor = self.head(torch.relu(y + self.shifts["a"].to(x.dtype)))
        return head


def test_constants_in_lists_and_dicts_are_cut() -> None:
    torch.manual_seed(0)
    traced = trace_network(Listed().eval(), SHAPE)
    assert [group.channels for group in traced.network.groups] == [12]
    wrong, effect = gap(traced, SHAPE, some(traced))
    assert wrong < 1e-6 < 1e-3 < effect  # the constants are floats
    small: Any = smaller(traced.model, traced.network.groups, some(traced))
    assert [each.numel() for each in (*small.scales, small.shifts["a"])] == [6, 6, 6]


def test_places_are_named_and_hold_other_tensors() -> None:
    model = nn.Sequential(Listed())
    names = [place.name for place in places_of(model) if place.module is model[0]]
    assert names == ["0.scales[0]", "0.scales[1]", "0.shifts[a]"]
    assert names == list(constants_of(model))
    other = torch.zeros(3)
    next(place for place in places_of(model) if place.name == names[1]).hold(other)
    assert held_tensor(model, names[1]) is other
    assert held_tensor(model, "0.stem.bias") is model[0].stem.bias


def test_only_what_is_filled_again_is_forgotten() -> None:
    class Both(Listed):
        def __init__(self) -> None:
            super().__init__()
            self.cache: dict[int, Tensor] = {}

        def forward(self, x: Tensor) -> Tensor:
            if x.shape[1] not in self.cache:
                self.cache[x.shape[1]] = self.stem.weight.sum()
            return super().forward(x) + self.cache[x.shape[1]]

    model, x = Both().eval(), torch.randn(SHAPE)
    model(x)
    find_caches(model, x)
    assert list(model.shifts) == ["a"]
    forget(model)
    assert not model.cache
    assert list(model.shifts) == ["a"]
