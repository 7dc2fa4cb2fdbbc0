"""Operators as arrays: classes, work and traffic."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_tables import conv, depthwise

from automl.latency.features import CLASSES, SHAPED, op_class, operator_features, smallest
from automl.latency.keys import OpKey
from automl.network.layers import OPERATORS

MAPS = {"in_size": (8, 8), "out_size": (8, 8)}


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (OpKey("conv2d", 8, 8), "pointwise"),
        (conv(8, 8), "spatial3"),
        (replace(conv(8, 8), stride=(2, 2)), "spatial"),
        (replace(conv(8, 8), kernel=(5, 5)), "spatial"),
        (replace(conv(8, 8), groups=2), "grouped"),
        (replace(conv(8, 8), groups=8), "depthwise"),
        (depthwise(8), "depthwise"),
        (replace(depthwise(8), kernel=(5, 5)), "depthwise_large"),
        (OpKey("activation", 8, 8, detail="silu"), "activation"),
        (OpKey("conv_transpose2d", 8, 8, (2, 2), (2, 2)), "spatial"),
        (OpKey("softmax", 8, 8), "elementwise"),
        (OpKey("concat", 8, 8), "movement"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_classes(key: OpKey, expected: str) -> None:
    assert op_class(key) == expected


def test_every_operator_has_a_class() -> None:
    assert {op_class(OpKey(op, 8, 8)) for op in OPERATORS} <= set(CLASSES)
    assert set(CLASSES) > SHAPED


def test_work_is_that_of_the_multiplications() -> None:
    keys = [
        conv(8, 16),
        replace(conv(8, 16), groups=4),
        depthwise(8),
        OpKey("linear", 8, 16, in_size=(5, 1), out_size=(5, 1)),
        OpKey("matmul", 8, 16, groups=2, in_size=(5, 1), out_size=(5, 1)),
        OpKey("conv_transpose2d", 8, 4, (2, 2), (2, 2), in_size=(4, 4), out_size=(8, 8)),
    ]
    found = operator_features(keys, (1, 1))
    work = found.reduction * found.outputs * found.space
    assert work.tolist() == [key.macs for key in keys]
    assert len(found) == len(keys)


def test_channels_are_rounded_up_to_the_steps_of_the_device() -> None:
    found = operator_features([conv(5, 9)], (4, 8))
    assert (found.reduction[0], found.outputs[0]) == (8 * 9, 16)
    exact = operator_features([conv(5, 9)], (1, 1))
    assert found.moved[0] == exact.moved[0]  # memory holds the channels that there are
    assert exact.weights[0] == 5 * 9 * 9


@pytest.mark.parametrize(
    ("key", "elements"),
    [
        (OpKey("add", 8, 8, **MAPS), 3 * 8 * 64),
        (OpKey("add", 8, 8, **MAPS, detail="channel"), 2 * 8 * 64),
        (OpKey("activation", 8, 8, **MAPS, detail="silu"), 2 * 8 * 64),
        (OpKey("softmax", 8, 8, **MAPS), 4 * 8 * 64),
    ],
)
def test_what_does_no_work_moves_its_maps(key: OpKey, elements: int) -> None:
    found = operator_features([key], (1, 1))
    assert found.moved[0] == elements
    assert found.size[0] == elements


def test_the_smallest_of_each_class() -> None:
    found = smallest(operator_features([conv(8, 16), conv(8, 8), OpKey("add", 8, 8)], (1, 1)))
    assert found[CLASSES.index("spatial3")] == conv(8, 8).macs
    assert found[CLASSES.index("linear")] == 0
    assert np.isfinite(found).all()


def test_no_operators_are_no_rows() -> None:
    assert len(operator_features([], (1, 1))) == 0
