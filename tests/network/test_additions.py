"""A layer in place of a residual branch adds what it reads itself, where the network would."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from mergeable import MAP, conv, drawn
from torch import Tensor, nn
from torch.nn import functional as F

from automl.network import merge_layers, merged_trace, trace_network
from automl.network.trace import record

Sum = Callable[[Tensor, Tensor], Tensor]


class Residual(nn.Module):
    """Two layers with nothing between, of which the first alone pads, and what is done to both."""

    def __init__(self, total: Sum, first: nn.Module | None = None) -> None:
        super().__init__()
        self.stem = conv(4, 4, 1)
        self.one, self.two = first or conv(4, 8, 3, padding=1), conv(8, 4)
        self.head, self.total = nn.Linear(4, 3), total

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        return self.head(F.relu(self.total(x, self.two(self.one(x)))).mean((2, 3)))


def in_place(x: Tensor, y: Tensor) -> Tensor:
    y += x
    return y


def used_after(x: Tensor, y: Tensor) -> Tensor:
    alias = x
    x += y
    return x + alias


SUMS: dict[str, Sum] = {
    "x + y": lambda x, y: x + y,
    "y + x": lambda x, y: y + x,
    "y += x": in_place,
    "y.add_(x)": lambda x, y: y.add_(x),
    "x.add(y)": lambda x, y: x.add(y),
    "torch.add(x, y)": torch.add,
    "torch.add(x, other=y)": lambda x, y: torch.add(x, other=y),
}
OTHERS: dict[str, Sum] = {
    "twice": lambda x, y: torch.add(x, y, alpha=2),
    "an activation of it": lambda x, y: x + F.relu(y),
    "an activation of what it reads": lambda x, y: torch.sigmoid(x) + y,
    "a product": lambda x, y: x * y,
    "both": lambda x, y: torch.cat([x + y, y], 1)[:, :4],
    "itself": lambda x, y: y + y,
    "what it reads is the sum later": used_after,
}


def inputs() -> Tensor:
    return torch.randn((2, *MAP[1:]), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("total", SUMS.values(), ids=SUMS)
def test_one_layer_computes_the_sum(total: Sum) -> None:
    traced = trace_network(drawn(Residual(total)), MAP, resolutions=())
    (merge,) = traced.network.merges
    assert merge.addition in {layer.name for layer in traced.network.layers if layer.op == "add"}
    made = copy.deepcopy(traced.model)
    merge_layers(made, merge.chain, adds=True)
    with torch.no_grad():
        torch.testing.assert_close(made(inputs()), traced.model(inputs()), rtol=1e-5, atol=1e-6)
    found = record(made, torch.zeros(MAP), labelled=False)
    assert not [call for call in found.calls if call.step.op.startswith("add")]
    told = merged_trace(traced.trace, traced.model, [merge.chain], [merge.chain])
    assert [call.step.address for call in told.calls] == [call.step.address for call in found.calls]
    assert told.calls[1].outputs == told.calls[2].inputs  # the ReLU reads what the layer writes


@pytest.mark.parametrize("total", OTHERS.values(), ids=OTHERS)
def test_other_operations_stay(total: Sum) -> None:
    traced = trace_network(drawn(Residual(total)), MAP, resolutions=())
    assert not any(each.addition for each in traced.network.merges)


@pytest.mark.parametrize(
    ("first", "adds"),
    [
        (conv(4, 8, 1), True),
        (conv(4, 8, 5, padding=2), True),
        (conv(4, 8, 3, padding=2, dilation=2), True),
        (nn.Conv2d(4, 8, (1, 3), padding=(0, 1)), True),
        (nn.Conv2d(4, 8, 3, padding="same"), True),
        (conv(4, 8, 2, padding=1, dilation=2), False),
    ],
)
def test_kernels_with_a_centre(first: nn.Module, adds: bool) -> None:
    traced = trace_network(drawn(Residual(torch.add, first)), MAP, resolutions=())
    assert [bool(each.addition) for each in traced.network.merges] in ([adds], [])
    assert traced.network.merges or not adds
    for merge in traced.network.merges:
        made = copy.deepcopy(traced.model)
        merge_layers(made, merge.chain, adds=adds)
        with torch.no_grad():
            torch.testing.assert_close(made(inputs()), traced.model(inputs()), rtol=1e-5, atol=1e-6)


class Other(nn.Module):
    """Grouped and depthwise convolutions, or linear layers, around the identity."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        if groups:
            self.one = nn.Conv2d(4, 4, 3, padding=1, groups=groups)
            self.two = nn.Conv2d(4, 4, 1, groups=groups)
        else:
            self.one, self.two = nn.Linear(12, 5), nn.Linear(5, 12)
        self.head = nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x + self.two(self.one(x))).mean((2, 3))


@pytest.mark.parametrize("groups", [0, 2, 4])
def test_of_groups_and_linear_layers(groups: int) -> None:
    traced = trace_network(drawn(Other(groups)), MAP, resolutions=())
    merge = next(each for each in traced.network.merges if each.chain == ("one", "two"))
    assert merge.addition
    made = copy.deepcopy(traced.model)
    merge_layers(made, merge.chain, adds=True)
    with torch.no_grad():
        torch.testing.assert_close(made(inputs()), traced.model(inputs()), rtol=1e-5, atol=1e-6)


class Dropping(nn.Module):
    """A module between the branch and the addition."""

    def __init__(self, between: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(conv(4, 8, 3, padding=1), nn.ReLU(), conv(8, 4))
        self.between, self.head = between, nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head((x + self.between(self.branch(x))).mean((2, 3)))


@pytest.mark.parametrize(
    ("between", "adds"),
    [(nn.Identity(), True), (nn.BatchNorm2d(4), True), (nn.Dropout(0.5), False)],
)
def test_modules_that_act_in_training_keep_the_addition(between: nn.Module, adds: bool) -> None:
    traced = trace_network(drawn(Dropping(between)), MAP, resolutions=())
    (merge,) = traced.network.merges
    assert bool(merge.addition) == adds
    made = copy.deepcopy(traced.model)
    merge_layers(made, merge.chain, adds=adds)
    assert made(inputs()).shape == (2, 3)


def test_nothing_else_is_done_to_a_sum() -> None:
    model = drawn(Dropping(nn.Dropout(0.5)))
    merge_layers(model, ("branch.0", "branch.2"), adds=True)
    with pytest.raises(TypeError, match="dropout of what was to be added alone"):
        model.train()(inputs())


def test_it_is_trained_as_any_layer() -> None:
    model = drawn(Residual(torch.add)).train()
    merge_layers(model, ("one", "two"), adds=True)
    model(inputs()).square().sum().backward()
    assert all(each.grad is not None for each in model.parameters())
    same = copy.deepcopy(model)
    torch.testing.assert_close(same(inputs()), model(inputs()))


def test_it_is_written_as_source_that_torch_exports() -> None:
    model = drawn(Residual(torch.add))
    merge_layers(model, ("one", "two"), adds=True)
    program = torch.export.export(model, (inputs(),), strict=False)
    torch.testing.assert_close(program.module()(inputs()), model(inputs()))
