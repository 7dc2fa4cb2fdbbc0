"""Layers that can become one are found, and one layer computes what they did without what was
between them."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from mergeable import MAP, Inverted, conv, drawn
from torch import Tensor, nn
from torch.nn import functional as F

from automl.network import composed, merge_layers, merged_trace, trace_network
from automl.network.own_forward import OwnForward
from automl.network.trace import record


def merges(model: nn.Module, shape: tuple[int, ...] = MAP) -> list[tuple[str, ...]]:
    return [each.chain for each in trace_network(drawn(model), shape).network.merges]


class Shared(nn.Module):
    """One activation module that runs in several places."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.act = conv(4, 6, 3), conv(6, 4, 3), nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.two(self.act(self.one(x)))).mean((2, 3)))


def swish(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def hard_swish(x: Tensor) -> Tensor:
    return x * F.relu6(3 + x).div_(6)


ACTIVATIONS = (F.relu6, F.gelu, swish, hard_swish, nn.functional.mish, torch.tanh)


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_depthwise_layers_go_with_both_beside_them_whatever_is_between(
    act: Callable[[Tensor], Tensor],
) -> None:
    traced = trace_network(drawn(Inverted(act)), MAP, resolutions=())
    chain = ("expand", "depth", "project")
    (merge,) = traced.network.merges
    assert (merge.chain, merge.groups) == (chain, ("expand",))
    assert {*chain} <= {*merge.layers} < {layer.name for layer in traced.network.layers}
    made, dense = copy.deepcopy(traced.model), copy.deepcopy(traced.model)
    merge_layers(made, chain)
    dense.act = lambda x: x
    inputs = torch.randn((2, *MAP[1:]), generator=torch.Generator().manual_seed(1))
    inner = composed([dense.get_submodule(name) for name in chain])
    x = F.relu(dense.stem(inputs))
    expected = dense.head(F.relu(x + inner(x)).mean((2, 3)))
    torch.testing.assert_close(made(inputs), expected)
    assert [name for name, _ in made.named_parameters()] == [
        *("stem.weight", "stem.bias", "project.weight", "project.bias", "head.weight", "head.bias")
    ]


def test_an_activation_that_runs_elsewhere_too_still_runs_there() -> None:
    model = drawn(Shared())
    expected = model.head(F.relu(composed([model.one, model.two])(torch.ones(MAP))).mean((2, 3)))
    merge_layers(model, ("one", "two"))
    torch.testing.assert_close(model(torch.ones(MAP)), expected)


@pytest.mark.parametrize("make", [Inverted, lambda: Inverted(hard_swish), Shared])
def test_the_trace_is_that_of_what_runs(make: Callable[[], nn.Module]) -> None:
    traced = trace_network(drawn(make()), MAP, resolutions=())
    chains = [each.chain for each in traced.network.merges]
    told = merged_trace(traced.trace, traced.model, chains)
    made = copy.deepcopy(traced.model)
    for chain in chains:
        merge_layers(made, chain)
    found = record(made, torch.zeros(MAP), labelled=False)
    # what happens beside carried values counts on, so that all else keeps its address
    ran = {call.step.address: call for call in found.calls}
    assert [call.step.address for call in told.calls] == list(ran)
    for call in told.calls:
        own = ran[call.step.address]
        assert (call.step.op, call.in_shapes, call.out_shapes) == (
            own.step.op,
            own.in_shapes,
            own.out_shapes,
        )


class Activates(nn.Conv2d):
    """A convolution and what follows it."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu6(F.conv2d(x, self.weight, self.bias))


class Refused(nn.Module):
    """Layers of which none can become one with another.

    Args:
        why: What hinders it.
    """

    def __init__(self, why: str) -> None:
        super().__init__()
        self.why = why
        kind = Activates if why == "own forward" else nn.Conv2d
        self.one, self.two = kind(4, 4, 3), conv(4, 4, 3, padding=1)
        self.scale, self.norm = nn.Parameter(torch.ones(4, 1, 1)), nn.GroupNorm(2, 4)
        self.slope = nn.PReLU(4)
        if why == "reflects":
            self.two.padding_mode = "reflect"
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.one(x))
        if self.why == "weights between":
            y = y * self.scale
        elif self.why == "norm between":
            y = self.norm(y)
        elif self.why == "slopes between":
            y = self.slope(y)
        elif self.why == "pool between":
            y = F.max_pool2d(y, 3, 1, 1)
        elif self.why == "channels gated":
            y = y * torch.sigmoid(y.mean((2, 3), keepdim=True))
        z = self.two(self.two(y)) if self.why == "runs twice" else self.two(y)
        if self.why == "read elsewhere":
            z = z + y
        return self.head(F.relu(z).mean((2, 3)))


WHYS = (
    "own forward",
    "weights between",
    "norm between",
    "slopes between",
    "pool between",
    "channels gated",
    "runs twice",
    "read elsewhere",
    "reflects",
)


@pytest.mark.parametrize("why", WHYS)
def test_others_stay_apart(why: str) -> None:
    model = Refused(why)
    assert merges(model) == []
    traced = trace_network(drawn(model), MAP)
    assert isinstance(traced.model.get_submodule("one"), OwnForward) == (why == "own forward")


def test_of_what_stays_apart_nothing_but_the_reason_hinders() -> None:
    assert merges(Refused("nothing")) == [("one", "two")]


def test_the_network_s_output_and_several_readers_end_a_chain() -> None:
    class Ends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = conv(4, 4), conv(4, 4), conv(4, 4)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            found = F.relu(self.b(F.relu(self.a(x))))
            return found, self.c(found)

    assert merges(Ends()) == [("a", "b")]


def test_long_chains_are_cut_into_rows_of_two() -> None:
    layers = [each for _ in range(7) for each in (conv(4, 4), nn.ReLU())]
    chain = nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * 144, 3))
    assert merges(chain) == [("0", "2"), ("2", "4"), ("6", "8"), ("8", "10")]


def test_they_are_cut_first_where_nothing_is_between() -> None:
    def block(read: int, write: int) -> list[nn.Module]:
        depth = conv(8, 8, 3, padding=1, groups=8)
        return [conv(read, 8), nn.ReLU(), depth, nn.ReLU(), conv(8, write)]

    layers = [*block(4, 5), *block(5, 6), *block(6, 5)]
    chain = nn.Sequential(*layers, nn.Flatten(), nn.Linear(5 * 144, 3))
    assert merges(chain) == [("0", "2", "4"), ("5", "7", "9"), ("10", "12", "14")]


def test_what_is_too_wide_to_be_solved_is_not_offered() -> None:
    wide = nn.Sequential(conv(4, 300, 3), nn.ReLU(), conv(300, 8, 3), nn.ReLU(), conv(8, 300, 3))
    assert merges(nn.Sequential(*wide, nn.ReLU(), conv(300, 300, 3))) != []
    for chain in merges(nn.Sequential(*wide, nn.ReLU(), conv(300, 300, 3))):
        assert chain[0] in ("0", "2")


def test_a_network_that_looks_at_what_is_carried_has_no_merges() -> None:
    class Looks(Refused):
        def forward(self, x: Tensor) -> Tensor:
            y = self.one(x)
            assert isinstance(y, Tensor)
            return self.head(F.relu(self.two(F.relu(y))).mean((2, 3)))

    assert merges(Looks("it looks")) == []
