"""Operators are written as Python, and what is no operator of torch's is refused."""

from __future__ import annotations

import operator
from typing import Any

import pytest
import torch
from torch import fx

from automl.errors import ModelError
from automl.export.source_operators import expression, literal, written

aten = torch.ops.aten


@pytest.mark.parametrize(
    ("target", "rest", "said"),
    [
        (aten.add.Tensor, (2,), "x + 2"),
        (aten.relu.default, (), "F.relu(x)"),
        (aten.relu_.default, (), "F.relu(x, inplace=True)"),
        (aten.mean.dim, ([2, 3], True), "x.mean([2, 3], True)"),
        (aten.sym_size.int, (0,), "x.size(0)"),
        (aten.select.int, (1, 0), "x[:, 0]"),
        (aten.slice.Tensor, (2, 1, -1), "x[:, :, 1:-1]"),
        (aten.slice.Tensor, (0, 0, 2**63 - 1, 2), "x[::2]"),
        (aten.to.dtype, (torch.float32,), "x.to(torch.float32)"),
        (
            aten.upsample_nearest2d.vec,
            (None, [2.0, 2.0]),
            'scale_factor=[2.0, 2.0], mode="nearest"',
        ),
        (aten.upsample_bilinear2d.vec, ([8, 8], False, None), "align_corners=False"),
        (aten.native_dropout.default, (0.1, False), "torch.ops.aten.native_dropout.default(x, 0.1"),
        (operator.mul, (3,), "x * 3"),
        (operator.getitem, (1,), "x[1]"),
    ],
)
def test_operators_read_as_people_write_them(target: Any, rest: Any, said: str) -> None:
    graph = fx.Graph()
    node = graph.call_function(target, (graph.placeholder("x"), *rest))
    assert said in expression(node, lambda _: "x", "here")


def test_what_is_no_operator_is_refused_by_its_place() -> None:
    graph = fx.Graph()
    node = graph.call_function(len, (graph.placeholder("x"),))
    with pytest.raises(ModelError, match=r"^layer1\.0 cannot be written as source: it calls len"):
        expression(node, str, "layer1.0")


def test_literals() -> None:
    values: Any = [1, (2,), [0.5, float("inf")], torch.device("cpu"), None, "a'b", slice(1, None)]
    text = written(values, str)
    assert eval(text, {"torch": torch}) == values
    assert literal("name") == '"name"'
    with pytest.raises(ModelError, match="a set, which has no literal"):
        written({1}, str)
