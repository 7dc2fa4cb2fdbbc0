"""Smaller and masked networks: what is cut, what stays, and that both compute the same."""

from __future__ import annotations

import random

import pytest
import torch
from specimens import Specimen, outputs, specimen
from torch import nn

from automl.network.layers import ChannelGroup, Layer, Network, Side
from automl.network.surgery import (
    kept_positions,
    mask,
    positions_of,
    remove,
    side_length,
    smaller,
)
from automl.network.traced_model import trace_network


def random_policy(
    network: Network, seed: int
) -> tuple[dict[str, torch.Tensor], frozenset[str], int]:
    """Kept channels of about every group, some removed blocks, a usable resolution.

    Of heads two stay: on a single one a softmax counts as one of maps.
    """
    chance = random.Random(seed)
    kept = {}
    for group in network.groups:
        count = chance.randint(2 if group.sizes else 1, group.channels)
        kept[group.name] = torch.tensor(sorted(chance.sample(range(group.channels), count)))
    removed = frozenset(block.name for block in network.blocks if chance.random() < 0.4)
    return kept, removed, chance.choice(network.resolutions)


def essence(layers: tuple[Layer, ...], copies: bool = True) -> list[tuple[object, ...]]:
    """What a device sees of the layers; that a convolution is depthwise shows in its groups."""
    return [
        (
            *(layer.op.removeprefix("depthwise_"), layer.in_channels, layer.out_channels),
            *(layer.groups, layer.in_size, layer.out_size, layer.kernel, layer.stride),
        )
        for layer in layers
        if copies or layer.op != "shuffle"
    ]


@pytest.mark.parametrize("seed", range(3))
def test_random_policies_run_with_the_shapes_foretold_and_equal_the_masked_model(
    each: Specimen, seed: int
) -> None:
    network, model = each.traced.network, each.traced.model
    kept, removed, resolution = random_policy(network, seed)
    small = smaller(model, network.groups, kept, removed)
    masked = mask(model, network.groups, kept, removed)
    shape = tuple(each.example.shape)
    if len(network.resolutions) > 1:
        shape = (*shape[:2], resolution, resolution)
    else:
        resolution = 0
    example = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    found, expected = outputs(small, example), outputs(masked, example)
    assert [t.shape for t in found] == [t.shape for t in outputs(each.model, each.example)]
    for left, right in zip(found, expected, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-4)
    counts = {name: len(index) for name, index in kept.items()}
    again = trace_network(small, shape, resolutions=())
    foretold = network.shapes(counts, removed, resolution)
    # torch runs attention another way, with copies, where values are not as wide as queries
    copies = not any(group.sizes for group in network.groups)
    assert essence(again.network.layers, copies) == essence(foretold, copies)


def test_shared_looks_change_nothing_in_the_model() -> None:
    seen = specimen("inverted")
    model, network = seen.traced.model, seen.traced.network
    before = {name: value.clone() for name, value in model.state_dict().items()}
    kept, removed, _ = random_policy(network, 1)
    mask(model, network.groups, kept, removed, shared=True)
    smaller(model, network.groups, kept, removed, shared=True)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def flattened(twice: bool = True) -> tuple[nn.Module, tuple[ChannelGroup, ...]]:
    """A convolution whose three channels are read at two places each by a linear layer."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.Flatten(), nn.Linear(6, 4))
    group = ChannelGroup(
        "0",
        3,
        (Side("0", "out", ((0,), (1,), (2,))),),
        (Side("2", "in", ((0, 1), (2, 3), (4, 5))),),
    )
    return model.eval(), (group,)


def test_positions_follow_a_channel_through_a_flatten() -> None:
    model, groups = flattened()
    kept = kept_positions(model, groups, {"0": torch.tensor([0, 2])})
    assert {side: at.tolist() for side, at in kept.items()} == {
        ("0", "out"): [0, 2],
        ("2", "in"): [0, 1, 4, 5],
    }
    assert kept_positions(model, groups, {}) == {}
    chosen = torch.tensor([False, True, True])
    assert positions_of(groups[0].consumers[0], chosen).tolist() == [2, 3, 4, 5]


def test_what_is_cut_out_is_cut_out_of_both_sides() -> None:
    model, groups = flattened()
    example = torch.randn(1, 2, 1, 2)
    kept = {"0": torch.tensor([0, 2])}
    small, masked = smaller(model, groups, kept), mask(model, groups, kept)
    assert [tuple(each.shape) for each in small.parameters()] == [(2, 2, 1, 1), (2,), (4, 4), (4,)]
    torch.testing.assert_close(small(example), masked(example))
    assert not torch.allclose(small(example), model(example))
    assert (side_length(small, "0", "out"), side_length(small, "2", "in")) == (2, 4)


def test_removed_blocks_hand_on_what_they_are_given() -> None:
    model = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    remove(model, frozenset({"1.0"}))
    values = torch.tensor([[1.0, -1.0]])
    assert model(values).tolist() == [[1.0, 0.0]]


def test_values_may_be_replaced_on_the_way() -> None:
    model, groups = flattened()
    weight = model[2].weight  # type: ignore[index]
    small = smaller(model, groups, {}, replaced={weight: torch.zeros_like(weight)})
    torch.testing.assert_close(small(torch.randn(1, 2, 1, 2))[0], model[2].bias)  # type: ignore[index]
    assert weight.any()
