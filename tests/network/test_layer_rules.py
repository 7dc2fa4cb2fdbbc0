"""Labels through layers."""

from __future__ import annotations

import torch
from torch import nn

from automl.network.forward_tracer import LeafCall
from automl.network.heads import Heads
from automl.network.labels import POSITIONS
from automl.network.layer_rules import LayerRules
from automl.network.union_find import UnionFind

Tensor = torch.Tensor


def step(op: str, module: str = "layer") -> LeafCall:
    return LeafCall((module, 0), op, module, ())


def test_a_convolution_binds_what_it_reads_and_gives_fresh_channels() -> None:
    union, bindings = UnionFind(), dict[tuple[str, str], Tensor]()
    rules = LayerRules(Heads(union), bindings, {})
    read = union.fresh(3).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    labels = rules.apply(step("conv"), nn.Conv2d(3, 5, 1), read, torch.zeros(1, 5, 4, 4))
    assert labels.shape == (1, 5, 4, 4)
    assert bindings["layer", "in"].tolist() == [1, 2, 3]
    assert bindings["layer", "out"].tolist() == [4, 5, 6, 7, 8]


def test_a_depthwise_one_hands_its_channels_on() -> None:
    union, bindings = UnionFind(), dict[tuple[str, str], Tensor]()
    rules = LayerRules(Heads(union), bindings, {})
    read = union.fresh(2).view(1, 2, 1).expand(1, 2, 4)
    layer = nn.Conv1d(2, 4, 1, groups=2)
    labels = rules.apply(step("conv"), layer, read, torch.zeros(1, 4, 4))
    assert labels[0, :, 0].tolist() == [1, 1, 2, 2]
    assert bindings["layer", "through"].tolist() == [1, 2]


def test_layers_that_hold_one_weight_have_one_set_of_channels() -> None:
    union, bindings = UnionFind(), dict[tuple[str, str], Tensor]()
    rules = LayerRules(Heads(union), bindings, {"other": "layer", "layer": "layer"})
    one, two = (union.fresh(3).view(1, 3) for _ in range(2))
    written = [
        rules.apply(step("linear", name), nn.Linear(3, 2), read, torch.zeros(1, 2))
        for name, read in (("layer", one), ("other", two))
    ]
    assert union.roots(one).tolist() == union.roots(two).tolist()
    assert union.roots(written[0]).tolist() == union.roots(written[1]).tolist()


def test_channels_that_also_lie_along_places_stay() -> None:
    union = UnionFind()
    rules = LayerRules(Heads(union), {}, {})
    read = union.fresh(6).view(1, 2, 3)
    rules.apply(step("linear"), nn.Linear(3, 2), read, torch.zeros(1, 2, 2))
    assert {union.unprunable(root) for root in union.roots(read).tolist()} == {POSITIONS}
