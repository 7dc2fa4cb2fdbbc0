"""What trtexec writes, line by line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from automl.errors import UsageError
from automl.network.layers import Network
from automl.profiling.matching import Matcher
from automl.profiling.nodes import ProfiledNode, Shape
from automl.profiling.trtexec import is_trtexec, read_trtexec

PATH = Path("p.json")


def entry(name: str, **more: object) -> dict[str, object]:
    return {"name": name, "averageMs": 1.0, **more}


def node(name: str, info: dict[str, Any] | None = None, folder: Path | None = None) -> ProfiledNode:
    """The one line of a profile, with what the layer file says of it."""
    layers = None
    if info is not None:
        assert folder is not None
        layers = folder / "layers.json"
        layers.write_text(json.dumps({"Layers": [{"Name": name, **info}]}))
    (found,) = read_trtexec([{"count": 7}, entry(name)], PATH, layers).nodes
    return found


def test_a_profile_is_known_by_its_fields() -> None:
    assert is_trtexec([{"count": 1}])
    assert is_trtexec([entry("a")])
    for other in ([], {}, [{"cat": "Node"}], "text"):
        assert not is_trtexec(other)


def test_the_median_counts_where_there_is_one() -> None:
    lines = [{"count": 7}, entry("a"), entry("b", medianMs=0.5)]
    profile = read_trtexec(lines, PATH, None)
    assert profile.runtime == "tensorrt"
    assert [(each.seconds, each.runs) for each in profile.nodes] == [(1e-3, 7), (5e-4, 7)]
    (without,) = read_trtexec([entry("a")], PATH, None).nodes
    assert without.runs == 0


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Reformatting CopyNode for Input Tensor 0 to a", "layout change"),
        ("{a,b} output reformatter 0", "layout change at a subgraph"),
        ("{ForeignNode[a...b]}", "subgraph in one line"),
        ("__myl_Conv_myl0_1", "kernel of a subgraph"),
        ("input to nvm", "transfer to or from the DLA"),
        ("a copy 2", "copy"),
        ("/a/QuantizeLinear", "change of precision"),
        ("/a/QuantizeLinear + /a/Conv", ""),
        ("/a/Conv", ""),
    ],
)
def test_what_is_no_operator_of_the_network(name: str, reason: str) -> None:
    found = node(name).aside
    assert found.startswith(reason)
    assert bool(found) == bool(reason)


def test_what_was_fused_and_merged_is_taken_apart() -> None:
    assert node("a + PWN(PWN(b), PWN(c))").branches == (("a", "b", "c"),)
    assert node("a + r || b").branches == (("a", "r"), ("b",))


def tensor(*dimensions: int, form: str = "FP16 NC/8HW8") -> dict[str, object]:
    return {"Dimensions": list(dimensions), "Format/Datatype": form}


def test_the_layer_file_tells_shape_and_precision(tmp_path: Path) -> None:
    info = {
        "ParameterType": "Convolution",
        "Inputs": [tensor(1, 8, 16, 16)],
        "Outputs": [tensor(1, 24, 8, 8)],
        "Kernel": [3, 3],
        "Stride": [2, 2],
        "PrePadding": [1, 1],
        "Dilation": [1, 1],
        "Groups": 4,
        "HasResidual": 1,
    }
    found = node("a", info, tmp_path)
    sizes = ((16, 16), (8, 8), (3, 3), (2, 2), (1, 1), (1, 1))
    assert found.shape == Shape("conv2d", 8, 24, *sizes, 4)
    assert found.precision == "fp16"
    assert found.fused == {"add"}


@pytest.mark.parametrize(
    ("info", "op"),
    [
        ({"ParameterType": "Deconvolution"}, "conv_transpose2d"),
        ({"ParameterType": "Pooling", "PoolingType": "MAX"}, "max_pool"),
        ({"ParameterType": "Pooling", "PoolingType": "AVERAGE"}, "avg_pool"),
    ],
)
def test_kinds_of_layers(info: dict[str, Any], op: str, tmp_path: Path) -> None:
    ends = {"Inputs": [tensor(1, 8, 4, 4)], "Outputs": [tensor(1, 8, 2, 2, form="Int8")]}
    found = node("a", info | ends, tmp_path)
    assert found.shape is not None
    assert found.shape.op == op


def test_plain_operators_have_the_shape_of_their_tensors_and_others_none(tmp_path: Path) -> None:
    ends = {"Inputs": [tensor(1, 8, 4, 4, form="Int8")], "Outputs": [tensor(1, 8, 4, 4)]}
    found = node("/a/Add", {"ParameterType": "ElementWise"} | ends, tmp_path)
    assert found.shape is not None
    assert (found.shape.op, found.precision) == ("add", "int8")
    assert node("/a/Softmax", {"ParameterType": "SoftMax"} | ends, tmp_path).shape is None
    assert node("/a/Conv", {"ParameterType": "Convolution"}, tmp_path).shape is None


def test_files_of_another_form_are_refused_with_the_field(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"p\.json: 0\.averageMs is missing"):
        read_trtexec([{"count": 3}, {"name": "a"}], PATH, None)
    layers = tmp_path / "layers.json"
    layers.write_text("{}")
    with pytest.raises(UsageError, match=r"layers\.json: Layers is missing"):
        read_trtexec([entry("a")], PATH, layers)


@pytest.mark.parametrize("piece", ["}", "_1", "QuantizeLinear+", ".a", "/a", "/a.a"])
def test_names_without_end_take_no_time_without_end(piece: str) -> None:
    """Searching for what stands around a word took the square of a name's length."""
    network = Network((), (), (), (1, 3, 8, 8), (8,))
    profile = read_trtexec([entry(piece * (60_000 // len(piece)) + "x")] * 40, PATH, None)
    assert all(isinstance(Matcher(network, "fp16").match(node), str) for node in profile.nodes)
