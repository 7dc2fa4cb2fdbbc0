"""Candidates copied from the database."""

from __future__ import annotations

import pytest
import torch
from compressed import (
    NAMES,
    compressor,
    images_for,
    masked,
    outputs_of,
    random_policy,
    read,
    same,
    state,
)
from interrupts import interrupted
from small import MAP, Joined, seeded
from torch import nn

from automl.compression import database, layer_matrix
from automl.compression.compressor import Compressor
from automl.compression.database import read_patch
from automl.compression.resizing import resized
from automl.network.traced_model import trace_network
from automl.policy.policy import Policy


@pytest.mark.parametrize("name", NAMES)
def test_a_candidate_is_the_masked_network_and_the_dense_one_stays(name: str) -> None:
    made, traced = compressor(name), read(name)
    before = state(traced.model)
    for seed in range(3):
        policy = random_policy(traced, seed)
        images = resized(made.images[:3], policy.resolution)
        found = outputs_of(made.database.candidate(policy), images)
        expected = outputs_of(masked(made.database, policy), images)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert same(before, traced.model)


def test_two_groups_that_one_layer_reads_are_corrected_both() -> None:
    traced = trace_network(seeded(Joined), MAP, resolutions=())
    made = Compressor(traced, images_for(MAP, 8), {"left": (4,), "right": (3,)})
    dense, shift = read_patch(traced.model.get_submodule("both"))
    both, left, right = (
        made.database.patches(Policy(channels))["both"]
        for channels in ({"left": 4, "right": 3}, {"left": 4}, {"right": 3})
    )
    torch.testing.assert_close(both[0] - dense, left[0] - dense + right[0] - dense)
    torch.testing.assert_close(both[1] - shift, left[1] - shift + right[1] - shift)
    assert (left[0] != dense).any()
    assert (right[0] != dense).any()


def test_a_policy_that_keeps_everything_changes_no_weight() -> None:
    made, traced = compressor("residual"), read("residual")
    everything = Policy({group.name: group.channels for group in traced.network.groups})
    assert made.database.kept(everything) == {}
    assert same(state(traced.model), made.make(everything))


def test_groups_are_told_as_they_are_done() -> None:
    traced, told = read("chain"), list[str]()
    counts = {group.name: (1,) for group in traced.network.groups[1:]}
    Compressor(traced, images_for((*MAP[:2], 16, 16), 2), counts, on_group=told.append)
    assert told == list(counts)


def test_an_interruption_anywhere_leaves_the_dense_network_whole() -> None:
    traced = trace_network(seeded(Joined), MAP, resolutions=())
    made = Compressor(traced, images_for(MAP, 8), {"left": (4,), "right": (3,)})
    before, policy = state(traced.model), Policy({"left": 4, "right": 3})
    lines = 0
    for lines in interrupted(lambda: made.database.candidate(policy), database, layer_matrix):
        assert same(before, traced.model), f"interrupted at line {lines}"
    assert lines > 20


def test_what_is_lost_of_queries_and_keys_is_zero_in_both() -> None:
    torch.manual_seed(0)
    traced = trace_network(Attending().eval(), (1, 6, 8))
    made = Compressor(traced, torch.randn(24, 6, 8), {"q": (3,), "q#2": (2, 4), "v": (3,)})
    group = next(each for each in traced.network.groups if each.name == "q#2")
    gone = sorted(set(range(5)) - set(made.database.kept(Policy({"q#2": 2}))["q#2"].tolist()))
    patches = made.database.patches(Policy({"q#2": 2}))
    assert patches.keys() == {"q", "k"}
    rows = [place for channel in gone for place in group.pairs[0].left.positions[channel]]
    for weight, bias in patches.values():
        assert not weight[0, rows].any()
        assert not bias[rows].any()
        assert weight[0].any(1).sum() == 20 - len(rows)


def test_places_that_neither_queries_nor_keys_use_go_first() -> None:
    torch.manual_seed(0)
    model = Attending().eval()
    with torch.no_grad():
        for layer in (model.q, model.k):  # of each head the second and the fifth
            for place in (1, 4):
                layer.weight[place::5] *= 0.01
                layer.bias[place::5] = 0.0
    traced = trace_network(model, (1, 6, 8))
    made = Compressor(traced, torch.randn(24, 6, 8), {"q#2": (3,)})
    assert made.database.kept(Policy({"q#2": 3}))["q#2"].tolist() == [0, 2, 3]


class Attending(nn.Module):
    """Four heads of five."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(8, 20) for _ in range(3))
        self.o = nn.Linear(20, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (f(x).unflatten(-1, (4, 5)).transpose(1, 2) for f in (self.q, self.k, self.v))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.o(mixed.transpose(1, 2).flatten(2))
