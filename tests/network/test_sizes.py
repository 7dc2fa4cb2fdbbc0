"""Sizes that a module asks for and names: translated where its channels are cut."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from exact import gap, some
from torch import Tensor, nn
from torch.nn import functional as F

from automl.network.sizes import SizeCalls, is_size, parse_size, set_sizes, size_side
from automl.network.traced_model import trace_network


class Asking(nn.Module):
    """Says what it was told of sizes, and what came of what it named."""

    def __init__(self, asked: Any) -> None:
        super().__init__()
        self.asked, self.inner = asked, nn.Identity()

    def forward(self, x: Tensor, *, extra: int = 0) -> Any:
        return self.asked(self, x)


CALLS = {
    "shape": lambda m, x: tuple(x.shape),
    "size": lambda m, x: tuple(x.size()),
    "one size": lambda m, x: (x.shape[0], x.size(-1)),
}
NAMED = {
    "view": lambda m, x: x.view(2, 12),
    "view, a list": lambda m, x: x.view([2, 12]),
    "reshape, the rest": lambda m, x: x.reshape(-1, 12),
    "function": lambda m, x: torch.reshape(x, (2, 12)),
    "expand": lambda m, x: x[:1].expand(2, 12),
}


@pytest.mark.parametrize("name", CALLS)
def test_sizes_that_are_asked_for_are_the_dense_ones(name: str) -> None:
    model = Asking(CALLS[name])
    last = 1 if name == "one size" else 0  # its second call
    set_sizes(model, {last: {1: (12, torch.arange(3))}})
    assert model(torch.zeros(2, 3)) == (2, 12)


@pytest.mark.parametrize("name", NAMED)
def test_sizes_that_are_named_become_what_is_left(name: str) -> None:
    model = Asking(NAMED[name])
    last = 1 if name == "expand" else 0  # after its slice
    set_sizes(model, {last: {1: (12, torch.arange(3))}})
    assert model(torch.zeros(2, 3)).shape == (2, 3)


def test_sizes_folded_into_the_batch_shrink_with_it() -> None:
    model = Asking(lambda m, x: x.view(2 * 4, 5))
    set_sizes(model, {0: {0: (4, torch.arange(3))}})
    assert model(torch.zeros(2, 3, 5)).shape == (6, 5)


def test_parts_and_dimensions_taken_apart() -> None:
    model = Asking(lambda m, x: (x.split(4, dim=1), x.unflatten(1, (3, 4))))
    set_sizes(
        model, {0: dict.fromkeys(range(3), (4, torch.arange(2))), 1: {2: (4, torch.arange(2))}}
    )
    parts, apart = model(torch.zeros(2, 6))
    assert [part.shape[1] for part in parts] == [2, 2, 2]
    assert apart.shape == (2, 3, 2)


def test_the_scale_of_an_attention_is_that_of_the_dense_heads() -> None:
    model = Asking(lambda m, x: F.scaled_dot_product_attention(x, x, x))
    set_sizes(model, {0: {2: (16, torch.arange(3))}})
    x = torch.randn(2, 5, 3)
    expected = F.scaled_dot_product_attention(x, x, x, scale=0.25)
    torch.testing.assert_close(model(x), expected)


def test_calls_of_modules_inside_do_not_count() -> None:
    inner = Asking(NAMED["view"])
    model = Asking(lambda m, x: (m.inner(torch.zeros(2, 12)), x.view(2, 12)))
    model.inner = inner
    set_sizes(model, {0: {1: (12, torch.arange(3))}})
    assert [each.shape[1] for each in model(torch.zeros(2, 3))] == [12, 3]


def test_what_was_cut_before_is_cut_on_from_the_dense_sizes() -> None:
    model = Asking(lambda m, x: (x.shape[1], x.view(2, 12)))
    set_sizes(model, {0: {1: (12, torch.arange(6))}, 1: {1: (12, torch.arange(6))}})
    set_sizes(model, {0: {1: (6, torch.arange(3))}, 1: {1: (6, torch.arange(3))}})
    asked, named = model(torch.zeros(2, 3))
    assert (asked, named.shape) == (12, (2, 3))


def test_it_is_called_as_the_module_is() -> None:
    model = Asking(CALLS["shape"])
    before = inspect.signature(model.forward)
    set_sizes(model, {0: {1: (12, torch.arange(3))}})
    assert inspect.signature(model.forward) == before
    assert model(torch.zeros(2, 3), extra=1) == (2, 12)


def test_calls_are_told_with_the_value_whose_sizes_they_are() -> None:
    told: list[Any] = []
    with SizeCalls(lambda kind, value, at, _: told.append((kind, value.numel(), at))):
        torch.zeros(2, 6).view(3, 4)
        _ = torch.zeros(2).shape
        torch.zeros(5) + 1
    assert told == [("named", 12, ((0, 0, 0, 3), (1, 1, 0, 4))), ("asked", 2, ((0, 0, 0, 2),))]


def test_a_side_is_written_and_read() -> None:
    assert is_size(size_side(3, 1, 8))
    assert parse_size(size_side(3, 1, 8)) == (3, 1, 8)
    assert not is_size("in")


class Reduced(nn.Module):
    """Names the width of one layer's channels after another's, as Segformer's reduction does."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.reduce, self.head = (
            nn.Conv2d(3, 8, 1),
            nn.Conv2d(8, 8, 2, 2),
            nn.Linear(8, 4),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        b, c = x.shape[:2]
        small = self.reduce(x).reshape(b, c, -1).transpose(1, 2)
        head: Tensor = self.head(small.view(b, -1, 8)).mean(1)
        return head + x.mean((1, 2, 3), keepdim=True).flatten(1)


def test_widths_named_after_other_layers_are_translated() -> None:
    torch.manual_seed(0)
    shape = (1, 3, 6, 6)
    traced = trace_network(Reduced().eval(), shape, resolutions=())
    assert [(group.name, group.channels) for group in traced.network.groups] == [
        ("stem", 8),
        ("reduce", 8),
    ]
    assert traced.network.unprunable == ()
    wrong, effect = gap(traced, shape, some(traced))
    assert wrong < 1e-12 < 1e-3 < effect
