"""What a line of a profile tells of an operator."""

from __future__ import annotations

from dataclasses import replace

import pytest

from automl.network.layers import Layer
from automl.profiling.nodes import Shape, onnx_op, size_of

LAYER = Layer(
    "a", "conv2d", 12, 24, (3, 3), (2, 2), (1, 1), groups=2, in_size=(8, 8), out_size=(4, 4)
)
SHAPE = Shape("conv2d", 12, 24, (8, 8), (4, 4))


def test_what_is_not_told_fits_everything() -> None:
    assert SHAPE.fits(LAYER)
    known = replace(SHAPE, kernel=(3, 3), stride=(2, 2), padding=(1, 1), dilation=(1, 1), groups=2)
    assert known.fits(LAYER)


@pytest.mark.parametrize(
    "change",
    [
        {"op": "linear"},
        {"in_channels": 16},
        {"out_channels": 12},
        {"in_size": (16, 16)},
        {"out_size": (8, 8)},
        {"kernel": (1, 1)},
        {"stride": (1, 1)},
        {"padding": (0, 0)},
        {"dilation": (2, 2)},
        {"groups": 1},
        {"detail": "channel"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_is_told_must_agree(change: dict[str, object]) -> None:
    assert not replace(SHAPE, **change).fits(LAYER)  # type: ignore[arg-type]


def test_channels_may_be_shown_rounded_up_to_a_block() -> None:
    blocked = replace(SHAPE, in_channels=16, out_channels=24, blocks=(8, 16))
    assert blocked.fits(LAYER)
    assert replace(blocked, out_channels=32).fits(LAYER)
    assert not replace(blocked, in_channels=24).fits(LAYER)


def test_depthwise_and_global_pools_go_by_the_name_of_their_family() -> None:
    deep = Layer("d", "depthwise_conv2d", 8, 8, groups=8)
    assert Shape("conv2d", 8, 8, (1, 1), (1, 1)).fits(deep)
    pool = Layer("p", "global_avg_pool", 8, 8, in_size=(7, 7))
    assert Shape("avg_pool", 8, 8, (7, 7), (1, 1), kernel=(7, 7)).fits(pool)
    assert not Shape("max_pool", 8, 8, (7, 7), (1, 1)).fits(pool)


def test_a_linear_layer_may_have_run_as_a_convolution_of_one_pixel() -> None:
    layer = Layer("fc", "linear", 8, 10)
    assert Shape("conv2d", 8, 10, (1, 1), (1, 1), kernel=(1, 1)).fits(layer)
    assert not Shape("conv2d", 8, 12, (1, 1), (1, 1)).fits(layer)


@pytest.mark.parametrize(
    ("dimensions", "expected"),
    [
        ([1, 8, 4, 5], (8, (4, 5))),
        ([1, 50, 64], (64, (50, 1))),
        ([1, 64], (64, (1, 1))),
        ([], (1, (1, 1))),
    ],
)
def test_sizes_of_tensors(dimensions: list[int], expected: tuple[int, tuple[int, int]]) -> None:
    assert size_of(dimensions) == expected


@pytest.mark.parametrize(
    ("part", "op"),
    [
        ("/layer1/conv1/Conv", "conv2d"),
        ("/layer1/Conv_3_output_0_nchwc", "conv2d"),
        ("Add_12", "add"),
        ("/a/ReduceMean", "global_avg_pool"),
        ("/a/Relu", ""),
        ("conv1", ""),
    ],
)
def test_a_nodes_last_word_is_its_operator(part: str, op: str) -> None:
    assert onnx_op(part) == op
