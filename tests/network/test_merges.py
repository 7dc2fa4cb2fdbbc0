"""The one layer's plan is that of what runs, at every width and resolution."""

from __future__ import annotations

import itertools

import pytest
import torch
from mergeable import MAP, Inverted, conv, drawn
from torch import nn

from automl.network import MergeableLayers, chains, merged_plans, rows_of, trace_network
from automl.network.merges import Window
from automl.network.merging import merge_layers

AXES = [
    axis
    for axis in itertools.product((1, 2, 3), (1, 2), (0, 1), (1, 2))
    if axis[0] > 1 or (axis[2], axis[3]) == (0, 1)
]


@pytest.mark.parametrize("first", AXES)
def test_a_window_reaches_as_far_as_both(first: tuple[int, ...]) -> None:
    for second, extent in itertools.product(AXES, (23, 24)):
        kernel, stride, padding, dilation = zip(first, second, strict=True)
        layers = [
            nn.Conv1d(1, 1, *each) for each in zip(kernel, stride, padding, dilation, strict=True)
        ]
        one, other = (Window(*((value,) for value in axis)) for axis in (first, second))
        both = one.before(other)
        whole = nn.Conv1d(1, 1, both.kernel, both.stride, both.padding, both.dilation)
        inputs = torch.zeros(1, 1, extent)
        assert whole(inputs).shape == layers[1](layers[0](inputs)).shape


def merge(*chain: str) -> MergeableLayers:
    return MergeableLayers(chain[0], chain, chain, ())


def test_merges_in_a_row_make_one_layer_of_all() -> None:
    some = (merge("a", "b"), merge("b", "c"), merge("x", "y", "z"))
    assert chains(some, {"a", "b"}) == (("a", "b", "c"),)
    assert chains(some, {"b", "x"}) == (("b", "c"), ("x", "y", "z"))
    assert chains(some, ()) == ()
    assert [len(row) for row in rows_of(some)] == [2, 1]


def test_the_plan_is_that_of_the_network_in_which_it_runs() -> None:
    body = [conv(4, 6, 3, padding=1, stride=2), nn.ReLU(), conv(6, 6), nn.ReLU()]
    body += [conv(6, 5, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    for model in (nn.Sequential(*body, nn.Linear(5, 3)), Inverted()):
        network = trace_network(drawn(model), MAP, resolutions=(8,)).network
        found = merged_plans(network)
        assert found
        for each in found:
            made = drawn(model)
            other = trace_network(made, MAP, resolutions=(8,)).model
            merge_layers(other, each.chain)
            names = [plan.layer.name for plan in network.plans]
            assert {*each.chain} <= {*names}
            layer = other.get_submodule(each.chain[-1])
            assert each.plan.layer.kernel == layer.kernel_size
            assert each.plan.layer.groups == layer.groups
            assert each.plan.layer.in_channels == layer.in_channels
            assert each.plan.layer.out_channels == layer.out_channels
            first, last = (
                next(plan for plan in network.plans if plan.layer.name == name)
                for name in (each.chain[0], each.chain[-1])
            )
            assert (each.plan.inputs, each.plan.outputs) == (first.inputs, last.outputs)
            assert [size[0] for size in each.plan.sizes] == [size[0] for size in first.sizes]
            assert [size[1] for size in each.plan.sizes] == [size[1] for size in last.sizes]


def test_two_in_a_row_exclude_what_makes_less_of_them() -> None:
    layers = [each for _ in range(3) for each in (conv(4, 4), nn.ReLU())]
    chain = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    network = trace_network(drawn(chain), MAP, resolutions=()).network
    found = {each.chain: (each.made, each.beside) for each in merged_plans(network)}
    assert found == {
        ("0", "2"): (("0",), ("2",)),
        ("0", "2", "4"): (("0", "2"), ()),
        ("2", "4"): (("2",), ("0",)),
    }
