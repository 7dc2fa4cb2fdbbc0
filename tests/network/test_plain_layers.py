"""Layers as people write them are traced, cut, and compute what they did."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
import written_layers as written
from torch import nn

from automl.network.own_forward import OwnForward
from automl.network.plain_layers import make_plain
from automl.network.surgery import mask, smaller
from automl.network.trace import record
from automl.network.traced_model import trace_network

MAPS, ROWS, TOKENS = (1, 3, 25, 25), (1, 6), (1, 5, 6)
#: Network, input, groups with their channels, and how many layers stay in a forward of their own.
CASES: dict[str, tuple[nn.Module, tuple[int, ...], dict[str, int], int]] = {}
with torch.random.fork_rng():
    torch.manual_seed(0)
    three = {"0": 8, "2": 12, "6": 8}
    for layer, options, within in (
        (written.Same, {"stride": 2}, 3),
        (written.PaddingChild, {"stride": 2}, 3),
        (written.EvenChild, {"stride": 2}, 0),
        (written.Reflecting, {}, 3),
        (written.BySize, {}, 3),
        (written.Literal, {}, 0),
        (written.Activating, {}, 3),
        (written.Standardised, {"stride": 2}, 3),
        (written.Centred, {"padding": "same"}, 0),
        (written.Equalised, {}, 0),
    ):
        network = written.maps_with(layer, **options)
        CASES[layer.__name__] = (network, MAPS, three, within)
    for layer, within in (
        *((written.Casting, 0), (written.Adapted, 0), (written.Turned, 0), (written.Bent, 1)),
    ):
        for shape in (ROWS, TOKENS):
            name = f"{layer.__name__} {len(shape)}"
            CASES[name] = (written.rows_with(layer), shape, {"0": 16, "2": 8}, within)
    for name, module in (
        ("FrozenNorm", written.FrozenNorm(8)),
        ("FromOne", written.FromOne(8)),
        ("SyncBatchNorm", nn.SyncBatchNorm(8)),
    ):
        CASES[name] = (written.after_a_layer(module), MAPS, {"0": 8}, 0)
    blurred = written.after_a_layer(nn.ReLU(), written.Blur(8))
    CASES["Blur"] = (blurred, MAPS, {"0": 8}, 1)
    up = nn.Sequential(nn.Conv2d(3, 8, 3), written.Cropping(8, 6, 4, 2, 1), nn.Conv2d(6, 4, 1))
    CASES["Cropping"] = (up, MAPS, {"0": 8, "1": 6}, 1)
    causal = nn.Sequential(nn.Conv1d(3, 8, 3), written.Causal(8, 6, 3), nn.Conv1d(6, 4, 1))
    CASES["Causal"] = (causal, (1, 3, 20), {"0": 8, "1": 6}, 1)


@pytest.mark.parametrize("case", CASES)
def test_it_is_a_layer_that_can_be_cut(case: str) -> None:
    model, shape, groups, within = CASES[case]
    example = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    traced = trace_network(model.eval(), shape)
    network = traced.network
    assert {group.name: group.channels for group in network.groups} == groups
    assert not network.unprunable
    assert sum(isinstance(each, OwnForward) for each in traced.model.modules()) == within
    with torch.no_grad():
        torch.testing.assert_close(traced.model(example), model(example), rtol=1e-4, atol=1e-5)
        double, example = copy.deepcopy(traced.model).double(), example.double()
        kept = {name: torch.arange(0, count, 2) for name, count in groups.items()}
        small = smaller(double, network.groups, kept)
        masked = mask(double, network.groups, kept)
        torch.testing.assert_close(small(example), masked(example), rtol=1e-12, atol=1e-12)
    again = trace_network(small.float(), shape, resolutions=()).network
    counts = {name: len(places) for name, places in kept.items()}
    sizes = [(layer.in_channels, layer.out_channels, layer.out_size) for layer in again.layers]
    assert sizes == [
        (layer.in_channels, layer.out_channels, layer.out_size) for layer in network.shapes(counts)
    ]


@pytest.mark.parametrize("case", ["Same", "BySize", "Standardised", "Reflecting"])
def test_padding_by_size_stays_right_at_other_sizes(case: str) -> None:
    model = CASES[case][0].eval()
    traced = trace_network(model, MAPS).model
    for size in (24, 26, 27, 31):
        example = torch.randn(2, 3, size, size)
        with torch.no_grad():
            torch.testing.assert_close(traced(example), model(example), rtol=1e-4, atol=1e-5)


def test_weights_that_only_make_the_layer_are_let_go() -> None:
    traced = trace_network(CASES["Standardised"][0], MAPS).model
    names = [name for name, _ in traced.named_parameters()]
    assert names == [f"{layer}.{each}" for layer in "02469" for each in ("weight", "bias")]


def test_copies_and_pickles_compute_the_same() -> None:
    traced, example = trace_network(CASES["Same"][0], MAPS).model, torch.randn(MAPS)
    for other in (copy.deepcopy(traced), pickle.loads(pickle.dumps(traced))):
        assert torch.equal(other(example), traced(example))


def test_weights_that_depend_on_the_input_make_no_layer() -> None:
    model = written.after_a_layer(written.Gated(8, 8, 3)).eval()
    make_plain(model, torch.randn(MAPS))
    assert type(model[1]) is written.Gated
    ops = [call.step.op for call in record(model, torch.randn(MAPS)).calls]
    assert ops.count("convolution") == 1


def test_what_its_network_asks_more_of_stays() -> None:
    class Asking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 8, 3), written.Centred(8, 4, 3)
            self.second.note = 3.0  # type: ignore[assignment]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(x)) * self.second.note

    model = Asking().eval()
    example = torch.randn(MAPS)
    expected = model(example)
    make_plain(model, example)
    assert type(model.second) is written.Centred
    assert torch.equal(model(example), expected)


def test_a_layer_that_is_shared_stays_shared() -> None:
    layer = written.Centred(8, 8, 3, padding=1)
    model = nn.Sequential(nn.Conv2d(3, 8, 1), layer, nn.ReLU(), layer).eval()
    make_plain(model, torch.randn(MAPS))
    assert type(model[1]) is nn.Conv2d
    assert model[1] is model[3]


class Tied(nn.Module):
    """Two layers hold one weight: what one loses, the other loses."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.down = nn.Linear(6, 16), nn.Linear(16, 12, bias=False)
        self.up, self.again, self.last = nn.Linear(12, 16), nn.Linear(16, 12), nn.Linear(12, 4)
        self.again.weight = self.down.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in (self.first, self.down, self.up, self.again):
            x = layer(x).relu()
        return self.last(x)


def test_a_weight_that_two_layers_hold_stays_one() -> None:
    torch.manual_seed(0)
    traced = trace_network(Tied(), (1, 6))
    network = traced.network
    assert [(group.name, group.channels) for group in network.groups] == [
        ("first", 16),
        ("down", 12),
    ]
    kept = {"first": torch.arange(0, 16, 2), "down": torch.arange(5)}
    small: Any = smaller(traced.model, network.groups, kept)
    assert small.down.weight is small.again.weight
    assert small.down.weight.shape == (5, 8)
    x = torch.randn(3, 6)
    torch.testing.assert_close(small(x), mask(traced.model, network.groups, kept)(x))
    assert traced.trace.uses()["down"] == 2
    assert not [plan.layer.name for plan in network.plans if plan.owner in ("down", "again")]
