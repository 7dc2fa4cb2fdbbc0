"""Values of a graph are named as people name them."""

from __future__ import annotations

import torch
from torch import Tensor, fx

from automl.export.source_names import ValueNames, is_name


def graph() -> tuple[fx.Graph, list[fx.Node]]:
    made = fx.Graph()
    x = made.placeholder("input_1")
    one = made.call_function(torch.ops.aten.relu.default, (x,))
    two = made.call_function(torch.ops.aten.neg.default, (one,))
    both = made.call_function(torch.ops.aten.add.Tensor, (x, two))
    size = made.call_function(torch.ops.aten.sym_size.int, (both, 0))
    made.output((both, size))
    return made, [x, one, two, both, size]


def test_a_value_goes_on_under_the_name_of_what_ends_in_it() -> None:
    made, nodes = graph()
    names = ValueNames(made)
    assert [names[node] for node in nodes] == ["x", "y", "y", "x", "n"]


def test_what_a_network_is_given_keeps_its_name() -> None:
    made, nodes = graph()
    names = ValueNames(made, ["y"])
    assert [names[node] for node in nodes] == ["y", "x", "x", "y", "n"]


def test_a_value_of_several_is_taken_apart_where_it_is_wholly() -> None:
    def chunks(count: int, read: int) -> list[fx.Node]:
        made = fx.Graph()
        x = made.placeholder("x")
        both = made.call_function(torch.ops.aten.chunk.default, (x, count))
        both.meta["val"] = [Tensor()] * count
        parts = [made.call_function(__import__("operator").getitem, (both, n)) for n in range(read)]
        made.output(tuple(parts))
        return ValueNames(made).parts(both)

    assert len(chunks(2, 2)) == 2
    assert not chunks(3, 2)


def test_words_of_python_and_imports_are_no_names() -> None:
    assert is_name("conv1")
    assert not any(map(is_name, ("class", "0", "a.b", "F", "torch", "self", "")))
