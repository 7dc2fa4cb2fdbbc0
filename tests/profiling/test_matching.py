"""Which operator a profile's line stands for."""

from __future__ import annotations

import pytest

from automl.latency.keys import op_key
from automl.network.layers import Layer, LayerPlan, Network, Width
from automl.profiling.matching import Matcher, RowMatch, candidates, plain_name
from automl.profiling.nodes import ProfiledNode, Shape

SIZE = {"in_size": (8, 8), "out_size": (8, 8)}
A, B = Layer("left.conv", "conv2d", 8, 16, **SIZE), Layer("right.conv", "conv2d", 8, 24, **SIZE)
SAME = Layer("left.other", "conv2d", 8, 16, **SIZE)
DEEP = Layer("deep", "depthwise_conv2d", 16, 16, (3, 3), groups=16, **SIZE)
ADD = Layer("add_1", "add", 16, 16, **SIZE)


def matcher(*layers: Layer) -> Matcher:
    plans = tuple(
        LayerPlan(each, Width(each.in_channels), Width(each.out_channels), ()) for each in layers
    )
    return Matcher(Network(plans, (), (), (1, 3, 8, 8), (8,)), "fp16")


def line(*parts: str, **more: object) -> ProfiledNode:
    return ProfiledNode(" + ".join(parts), 1e-3, 1, (parts,), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "plain"),
    [("a/b.c", "a.b.c"), ("/A/b:c/", "a.b.c"), ("a..b", "a.b")],
)
def test_separators_are_alike(name: str, plain: str) -> None:
    assert plain_name(name) == plain


def test_a_nodes_name_holds_its_modules_path() -> None:
    assert candidates("/layer1/layer1.0/conv1/Conv")[0] == "layer1.0.conv1"
    assert "conv1" in candidates("conv1_token_3")
    assert candidates("/a/Conv_2_output_0_nchwc")[0] == "a"


def test_a_line_is_found_by_its_name_and_priced_in_its_precision() -> None:
    found = matcher(A, B, SAME).match(line("/left/conv/Conv", "/left/act/Relu"))
    assert found == RowMatch(op_key(A, "fp16"))
    assert matcher(A).match(line("/left/conv/Conv", precision="int8")) == RowMatch(
        op_key(A, "int8")
    )


def test_a_name_that_agrees_with_another_operator_is_no_match() -> None:
    assert matcher(A).match(line("/left/conv/Conv", op="linear")) == (
        "no operator of the network is like it"
    )
    assert isinstance(matcher(DEEP).match(line("deep", op="conv2d")), RowMatch)


def test_nameless_lines_are_found_by_their_shape_where_only_one_fits() -> None:
    shape = Shape("conv2d", 8, 24, (8, 8), (8, 8))
    assert matcher(A, B).match(line("x", shape=shape)) == RowMatch(op_key(B, "fp16"))
    alike = Shape("conv2d", 8, 0, (8, 8), (8, 8), blocks=(1,))
    assert matcher(A, B).match(line("x", shape=alike)) == "no operator of the network is like it"
    either = Shape("conv2d", 8, 32, (8, 8), (8, 8), blocks=(32,))
    assert matcher(A, B).match(line("x", shape=either)) == "several operators could be it"


def test_equal_operators_need_not_be_told_apart() -> None:
    shape = Shape("conv2d", 8, 16, (8, 8), (8, 8))
    assert matcher(A, SAME).match(line("x", shape=shape)) == RowMatch(op_key(A, "fp16"))


def test_the_module_that_a_line_is_named_after_decides() -> None:
    found = matcher(A, B).match(line("/right/act/Relu", op="conv2d"))
    assert found == RowMatch(op_key(B, "fp16"))


def test_a_shape_that_contradicts_the_name_is_said() -> None:
    found = matcher(A).match(line("left.conv", shape=Shape("conv2d", 8, 16, (4, 4), (4, 4))))
    assert found == "its shape is not that of left.conv: another network or resolution?"


def test_followers_are_named_and_have_no_time_of_their_own() -> None:
    found = matcher(A, ADD).match(line("/left/conv/Conv", "/Add"))
    assert found == RowMatch(op_key(A, "fp16"), (op_key(ADD, "fp16"),))
    told = matcher(A, ADD).match(line("left.conv", fused=frozenset({"add"})))
    assert told == found


def test_merged_convolutions_are_one_wide_one() -> None:
    node = ProfiledNode("both", 1e-3, 1, (("left.conv",), ("right.conv",)))
    found = matcher(A, B).match(node)
    assert isinstance(found, RowMatch)
    assert (found.key.out_channels, found.merged) == (40, 2)
    assert matcher(A, DEEP).match(ProfiledNode("x", 1e-3, 1, (("left.conv",), ("deep",)))) == (
        "merged operators that are not convolutions of one shape"
    )


def test_what_was_put_aside_keeps_its_reason() -> None:
    assert matcher(A).match(line("left.conv", aside="layout change")) == "layout change"
