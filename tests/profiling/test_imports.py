"""Profiles of other tools: what is an operator of the network, what is not, and what is refused."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from automl.errors import UsageError
from automl.latency.keys import OpKey
from automl.network.layers import Layer, LayerPlan, Network, Width
from automl.profiling.imports import ImportResult, import_profile

SHARED = Path(__file__).resolve().parents[3] / "shared" / "device_data"
SAMPLES = SHARED / "trtexec_samples"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="no ../shared/device_data here")


def network_of(layers: Sequence[Layer], size: int = 224) -> Network:
    """A network without groups, as far as a profile needs it."""
    plans = tuple(
        LayerPlan(
            layer,
            Width(layer.in_channels),
            Width(layer.out_channels),
            ((layer.in_size, layer.out_size),),
        )
        for layer in layers
    )
    return Network(plans, (), (), (1, 3, size, size), (size,))


def conv(name: str, wide: tuple[int, int], size: int, kernel: int = 1, stride: int = 1) -> Layer:
    """A convolution as networks of this kind have it: the map shrinks by its stride alone."""
    out = (size // stride, size // stride)
    half = kernel // 2
    return Layer(
        name,
        "conv2d",
        *wide,
        (kernel, kernel),
        (stride, stride),
        (half, half),
        in_size=(size, size),
        out_size=out,
    )


def pointwise(name: str, op: str, channels: int, size: int) -> Layer:
    return Layer(name, op, channels, channels, in_size=(size, size), out_size=(size, size))


def resnet18() -> Network:
    layers = [conv("conv1", (3, 64), 224, 7, 2)]
    layers.append(
        Layer("max_pool2d_1", "max_pool", 64, 64, (3, 3), (2, 2), (1, 1), in_size=(112, 112),
              out_size=(56, 56))
    )  # fmt: skip
    size, width = 56, 64
    for stage in range(1, 5):
        for block in range(2):
            stride = 2 if block == 0 and stage > 1 else 1
            wide = 64 << (stage - 1)
            name = f"layer{stage}.{block}"
            layers.append(conv(f"{name}.conv1", (width, wide), size, 3, stride))
            layers.append(conv(f"{name}.conv2", (wide, wide), size // stride, 3))
            if stride == 2:
                layers.append(conv(f"{name}.downsample.0", (width, wide), size, 1, 2))
            size, width = size // stride, wide
            layers.append(pointwise(f"add_{2 * stage + block - 1}", "add", wide, size))
    layers.append(Layer("mean_1", "global_avg_pool", 512, 512, in_size=(7, 7)))
    layers.append(Layer("fc", "linear", 512, 1000))
    return network_of(layers)


#: Channels of GoogLeNet's modules (Szegedy et al. 2015, table 1).
INCEPTION = {
    "3a": (192, 28, 64, 96, 128, 16, 32, 32),
    "3b": (256, 28, 128, 128, 192, 32, 96, 64),
    "4a": (480, 14, 192, 96, 208, 16, 48, 64),
    "4b": (512, 14, 160, 112, 224, 24, 64, 64),
    "4c": (512, 14, 128, 128, 256, 24, 64, 64),
    "4d": (512, 14, 112, 144, 288, 32, 64, 64),
    "4e": (528, 14, 256, 160, 320, 32, 128, 128),
    "5a": (832, 7, 256, 160, 320, 32, 128, 128),
    "5b": (832, 7, 384, 192, 384, 48, 128, 128),
}


def googlenet() -> Network:
    layers = [
        conv("conv1.7x7_s2", (3, 64), 224, 7, 2),
        conv("conv2.3x3_reduce", (64, 64), 56),
        conv("conv2.3x3", (64, 192), 56, 3),
    ]
    for module, (wide, size, a, b_reduce, b, c_reduce, c, pooled) in INCEPTION.items():
        for name, widths, kernel in (
            ("1x1", (wide, a), 1),
            ("3x3_reduce", (wide, b_reduce), 1),
            ("3x3", (b_reduce, b), 3),
            ("5x5_reduce", (wide, c_reduce), 1),
            ("5x5", (c_reduce, c), 5),
            ("pool_proj", (wide, pooled), 1),
        ):
            layers.append(conv(f"inception_{module}.{name}", widths, size, kernel))
    layers.append(Layer("loss3.classifier", "linear", 1024, 1000))
    return network_of(layers)


def rows_of(result: ImportResult) -> dict[OpKey, float]:
    return {row.key: row.seconds for row in result.rows}


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


OLD = [
    {"count": 100},
    {"name": "a + relu_a input reformatter 0", "timeMs": 1, "averageMs": 0.01, "percentage": 5},
    {"name": "a + relu_a", "timeMs": 5, "averageMs": 0.05, "percentage": 25},
    {"name": "b + relu_b || c + relu_c", "timeMs": 4, "averageMs": 0.04, "percentage": 20},
    {"name": "d", "timeMs": 2, "averageMs": 0.02, "percentage": 10},
    {"name": "b copy", "timeMs": 1, "averageMs": 0.01, "percentage": 5},
    {"name": "e + plus + relu_e", "timeMs": 3, "averageMs": 0.03, "percentage": 15},
    {"name": "{ForeignNode[x...y]}", "timeMs": 2, "averageMs": 0.02, "percentage": 10},
    {"name": "__myl_Sum_myl1_0", "timeMs": 1, "averageMs": 0.01, "percentage": 5},
    {"name": "mystery", "timeMs": 1, "averageMs": 0.01, "percentage": 5},
]
A, B, C = (conv(name, wide, 32) for name, wide in (("a", (8, 16)), ("b", (16, 8)), ("c", (16, 24))))
D, E = conv("d", (8, 32), 32, 3), conv("e", (32, 32), 32, 3)
SMALL = network_of([A, B, C, D, E])
A_KEY = OpKey("conv2d", 8, 16, in_size=(32, 32), out_size=(32, 32), precision="fp16")


def test_the_old_form(tmp_path: Path) -> None:
    result = import_profile(write(tmp_path / "old.json", OLD), None, SMALL, precision="fp16")
    found = rows_of(result)
    wide = OpKey("conv2d", 16, 32, in_size=(32, 32), out_size=(32, 32), precision="fp16")
    assert found[A_KEY] == pytest.approx(5e-5)
    assert found[wide] == pytest.approx(4e-5)
    assert len(found) == 4
    assert result.total_seconds == pytest.approx(2e-4)
    assert result.matched_share == pytest.approx(0.7)
    assert not result.warnings
    assert {line.name: line.reason for line in result.unmatched} == {
        "a + relu_a input reformatter 0": "layout change",
        "b copy": "copy (part of a concatenation)",
        "{ForeignNode[x...y]}": "subgraph in one line (DLA or Myelin)",
        "__myl_Sum_myl1_0": "kernel of a subgraph (Myelin)",
        "mystery": "no operator of the network has its name",
    }
    assert result.unmatched[0].share == pytest.approx(0.1)
    (row,) = (row for row in result.rows if row.key == wide)
    assert row.source == "measured"
    assert row.runs == 100
    assert row.origin == "old.json: b + relu_b || c + relu_c (merged)"


def test_the_new_form_gives_medians(tmp_path: Path) -> None:
    lines = [{"count": 9}, {"name": "a", "timeMs": 9, "averageMs": 1.0, "medianMs": 0.5}]
    result = import_profile(write(tmp_path / "new.json", lines), None, SMALL, precision="fp16")
    assert rows_of(result) == {A_KEY: 5e-4}


def test_several_lines_of_one_operator_make_one_row(tmp_path: Path) -> None:
    names = ("x.0.conv", "x.1.conv", "x.2.conv")
    network = network_of([conv(name, (8, 8), 16, 3) for name in names])
    lines = [{"count": 10}] + [
        {"name": f"/x/x.{i}/conv/Conv", "averageMs": time} for i, time in enumerate((0.1, 0.2, 0.4))
    ]
    path = write(tmp_path / "several.json", lines)
    (row,) = import_profile(path, None, network, precision="fp16").rows
    assert row.seconds == pytest.approx(2e-4)
    assert row.runs == 30
    assert row.spread == pytest.approx(1.2533 * 1.4826 * 0.5 / math.sqrt(3))
    assert row.origin.endswith("and 2 more")


def test_a_fused_addition_counts_only_where_the_operator_is_never_alone(tmp_path: Path) -> None:
    size = (16, 16)
    network = network_of(
        [
            conv("p", (8, 8), 16, 3),
            conv("q", (8, 8), 16, 3),
            pointwise("add_1", "add", 8, 16),
            conv("r", (8, 8), 16),
        ]
    )
    lines = [
        {"name": "/p/Conv", "averageMs": 0.1},
        {"name": "/q/Conv + /Add + /relu/Relu", "averageMs": 0.3},
        {"name": "/r/Conv + /Add_1", "averageMs": 0.2},
    ]
    result = import_profile(write(tmp_path / "fused.json", lines), None, network, precision="fp16")
    assert result.matched_share == pytest.approx(1.0)
    (alone, fused) = result.rows
    assert alone.seconds == pytest.approx(1e-4)
    assert fused.key == OpKey("conv2d", 8, 8, in_size=size, out_size=size, precision="fp16")
    assert fused.seconds == pytest.approx(2e-4)
    assert fused.origin.endswith("add included")
    assert result.notes == (
        "add: computed within 2 other operators and without a row of its own,"
        " as in /q/Conv + /Add + /relu/Relu",
    )


def test_what_cannot_be_told_apart_is_not_guessed(tmp_path: Path) -> None:
    lines = [
        {"name": "a + d", "averageMs": 0.1},  # two convolutions in one line
        {"name": "a || d", "averageMs": 0.1},  # merged, but not of one shape
        {"name": "a || stranger", "averageMs": 0.1},
        {"name": "/Conv", "averageMs": 0.1},  # any of five
    ]
    result = import_profile(write(tmp_path / "x.json", lines), None, SMALL, precision="fp16")
    assert not result.rows
    assert [line.reason for line in result.unmatched] == [
        "several operators fused: their shares are not told",
        "merged operators that are not convolutions of one shape",
        "merged with what the network does not name",
        "several operators could be it",
    ]
    (warning,) = result.warnings
    assert "only 0 % of the time in x.json was matched" in warning


def layer_info(name: str, reads: list[int], writes: list[int], **more: object) -> object:
    kind = {"Format/Datatype": "Row major linear FP16 format"}
    return {
        "Name": name,
        "ParameterType": "Convolution",
        "Inputs": [{"Name": "x", "Dimensions": reads} | kind],
        "Outputs": [{"Name": "y", "Dimensions": writes} | kind],
        "Kernel": [1, 1],
        "Stride": [1, 1],
        "PrePadding": [0, 0],
        "Dilation": [1, 1],
        "Groups": 1,
    } | more


def test_shapes_of_the_layer_file_find_and_refuse(tmp_path: Path) -> None:
    lines = [{"name": name, "averageMs": 0.1} for name in ("a", "nameless", "c", "plain")]
    profile = write(tmp_path / "p.json", lines)
    infos = [
        layer_info("a", [1, 8, 32, 32], [1, 16, 32, 32]),
        layer_info("nameless", [1, 16, 32, 32], [1, 8, 32, 32], HasResidual=1),  # b, by its shape
        layer_info("c", [1, 16, 64, 64], [1, 24, 64, 64]),  # of another resolution
        "plain",
    ]
    file = write(tmp_path / "l.json", {"Layers": infos, "Bindings": []})
    result = import_profile(profile, file, SMALL)
    assert [row.key for row in result.rows] == [
        A_KEY,
        OpKey("conv2d", 16, 8, in_size=(32, 32), out_size=(32, 32), precision="fp16"),
    ]
    assert [line.reason for line in result.unmatched] == [
        "its shape is not that of c: another network or resolution?",
        "no operator of the network has its name",
    ]
    with pytest.raises(UsageError, match=r"p\.json was run in fp16, not in int8"):
        import_profile(profile, file, SMALL, precision="int8")


def test_names_of_mobile_and_quantised_networks(tmp_path: Path) -> None:
    network = network_of(
        [
            conv("stem", (3, 8), 32, 3),
            conv("down", (8, 8), 32, 3, 2),
            pointwise("silu_1", "activation", 8, 16),
            pointwise("add_1", "add", 8, 16),
            pointwise("add_2", "add", 8, 32),
            Layer("fc", "linear", 8, 10),
        ]
    )
    swish = "PWN(PWN(/act/Sigmoid), PWN(/act/Mul))"
    names = (
        f"/stem/Conv + {swish}",
        swish,
        "down.weight + /down/weight_quantizer/QuantizeLinear + /down/Conv + /Add",
        "/down/input_quantizer/QuantizeLinear",
        "/Add_1",
        "/fc/Gemm",
    )
    infos = [
        {
            "Name": "/Add_1",
            "ParameterType": "ElementWise",
            "Inputs": [{"Dimensions": [1, 8, 32, 32], "Format/Datatype": "Int8"}] * 2,
            "Outputs": [{"Dimensions": [1, 8, 32, 32], "Format/Datatype": "Int8"}],
        },
        layer_info("/fc/Gemm", [1, 8, 1, 1], [1, 10, 1, 1]),  # a convolution of one pixel
    ]
    profile = write(tmp_path / "p.json", [{"name": name, "averageMs": 0.1} for name in names])
    file = write(tmp_path / "l.json", {"Layers": infos})
    result = import_profile(profile, file, network, precision="fp16")
    assert [(row.key.op, row.key.out_channels, row.key.precision) for row in result.rows] == [
        ("conv2d", 8, "fp16"),
        ("conv2d", 8, "fp16"),
        ("add", 8, "int8"),
        ("linear", 10, "fp16"),
    ]
    assert {line.name: line.reason for line in result.unmatched} == {
        swish: "no operator of the network has its name",
        "/down/input_quantizer/QuantizeLinear": "change of precision",
    }
    (note,) = result.notes
    assert note.startswith("add: computed within 1 other operators")


def test_another_batch_is_refused(tmp_path: Path) -> None:
    profile = write(tmp_path / "p.json", [{"name": "a", "averageMs": 0.1}])
    info = {"Layers": [layer_info("a", [8, 8, 32, 32], [8, 16, 32, 32])]}
    with pytest.raises(UsageError, match="layer 'a' ran at batch 8; tables hold 1"):
        import_profile(profile, write(tmp_path / "l.json", info), SMALL)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nonsense", "not JSON: .* none of benchmark_model"),
        ("[]", "no profile of trtexec"),
        ('{"a": 1}', "no profile of trtexec"),
        ([{"count": 3}, {"name": "a"}], "0.averageMs is missing"),
        ([{"count": 3}, {"name": "a", "averageMs": -1}], "greater than or equal to 0"),
        ([{"count": 3}, {"name": "a", "averageMs": 0}], "no line of the profile takes any time"),
        ("=== Run Order ===\nfoo\tbar\n", "line 2: no column 'node type'"),
        ("=== Run Order ===\n[node type]\t[avg ms]\t[Name]\nADD\tx\t[y]\n", "line 3: not a line"),
    ],
)
def test_what_is_no_profile_is_refused(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        import_profile(write(tmp_path / "bad", content), None, SMALL, precision="fp16")


def test_files_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"profile .*none: No such file"):
        import_profile(tmp_path / "none", None, SMALL)
    profile = write(tmp_path / "p.json", [{"name": "a", "averageMs": 0.1}])
    with pytest.raises(UsageError, match=r"layer information .*none: No such file"):
        import_profile(profile, tmp_path / "none", SMALL)
    with pytest.raises(UsageError, match="does not tell its precision"):
        import_profile(profile, None, SMALL)


#: The form of both is benchmark_model's; times and names are made up.
PRINTED = """\
Profiling Info for Benchmark Initialization:
============================== Run Order ==============================
\t             [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]
\t         AllocateTensors\t    0.084\t    0.084\t100.000%\t100.000%\t     0.000\t        1\tAllocateTensors/0

Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
\t             [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]
\t                 CONV_2D\t    0.410\t    0.400\t 40.000%\t 40.000%\t     0.000\t        1\t[model/a/Relu;model/a/BiasAdd;model/a/Conv2D]:0
\t                 CONV_2D\t    0.210\t    0.200\t 20.000%\t 60.000%\t     0.000\t        1\t[model/d/Conv2D]:1
\t   TfLiteXNNPackDelegate\t    0.300\t    0.300\t 30.000%\t 90.000%\t     0.000\t        1\t[model/logits]:2
\t                 RESHAPE\t    0.100\t    0.100\t 10.000%\t100.000%\t     0.000\t        1\t[model/e]:3

============================== Top by Computation Time ==============================
"""  # noqa: E501
COMMAS = """\
============================== Run Order ==============================
node type, start, first, avg_ms, %, cdf%, mem KB, times called, name
CONV_2D, 0, 0.11, 0.4, 66.7%, 66.7%, 0, 1, [model/a/Relu;model/a/BiasAdd;model/a/Conv2D]:0
CONV_2D, 0.4, 0.1, 0.2, 33.3%, 100%, 0, 1, [model/d/Conv2D]:1
"""


@pytest.mark.parametrize("text", [PRINTED, COMMAS], ids=["printed", "csv"])
def test_benchmark_model(tmp_path: Path, text: str) -> None:
    result = import_profile(write(tmp_path / "t.txt", text), None, SMALL, precision="fp32")
    assert result.runtime == "tflite"
    found = {row.key.out_channels: row for row in result.rows}
    assert {wide: row.seconds for wide, row in found.items()} == pytest.approx({16: 4e-4, 32: 2e-4})
    assert found[16].key.precision == "fp32"
    left = {line.name: line.reason for line in result.unmatched}
    assert left == (
        {}
        if text == COMMAS
        else {
            "model/logits": "a delegate's subgraph in one line",
            "model/e": "RESHAPE is no operator that is priced",
        }
    )


@needs_samples
@pytest.mark.parametrize("with_layers", [True, False])
def test_a_published_resnet18(with_layers: bool) -> None:
    layers = SAMPLES / "rtx3060m_resnet18_fp16.layerinfo.json" if with_layers else None
    result = import_profile(
        SAMPLES / "rtx3060m_resnet18_fp16.profile.json", layers, resnet18(), precision="fp16"
    )
    assert len(result.rows) == 13  # 11 shapes of convolutions, both pools
    assert result.matched_share > 0.95
    assert not any("yl" in row.origin or "Reformat" in row.origin for row in result.rows)
    assert all("Reformatting" in line.name or "my" in line.name for line in result.unmatched)
    stem = OpKey("conv2d", 3, 64, (7, 7), (2, 2), (3, 3), in_size=(224, 224), out_size=(112, 112),
                 precision="fp16")  # fmt: skip
    assert rows_of(result)[stem] == pytest.approx(28.672e-6)


@needs_samples
def test_a_published_googlenet_agrees_with_the_table_made_of_it() -> None:
    path = SAMPLES / "haxconn_xavier_googlenet_fp16_gpu.profile.json"
    result = import_profile(path, None, googlenet(), precision="fp16")
    found = rows_of(result)
    expected: dict[tuple[int, ...], list[float]] = {}
    with (SHARED / "per_op.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["runtime"] == "tensorrt" and row["op"] == "conv2d":
                fields = ("in_channels", "out_channels", "kernel_h", "in_h")
                shape = tuple(int(row[field]) for field in fields)
                expected.setdefault(shape, []).append(float(row["latency_ms"]) / 1e3)
    shapes = {
        (key.in_channels, key.out_channels, key.kernel[0], key.in_size[0]): seconds
        for key, seconds in found.items()
        if key.op == "conv2d"
    }
    assert shapes.keys() == expected.keys()
    for shape, seconds in shapes.items():
        assert min(expected[shape]) <= seconds <= max(expected[shape])
    assert result.matched_share > 0.6
    assert not result.warnings


@needs_samples
def test_a_published_profile_of_the_dla_gives_no_rows() -> None:
    path = SAMPLES / "haxconn_xavier_googlenet_fp16_dla.profile.json"
    result = import_profile(path, None, googlenet(), precision="fp16")
    assert result.rows == ()
    assert sum(line.share for line in result.unmatched) == pytest.approx(1.0)
    assert "layout change at a subgraph" in result.unmatched[0].reason
    assert "the DLA" in result.warnings[0]


def node_event(name: str, op: str, reads: list[list[int]], writes: list[int]) -> object:
    shapes = [{"float": shape} for shape in reads]
    arguments = {
        "op_name": op,
        "input_type_shape": shapes,
        "output_type_shape": [{"float": writes}],
    }
    return {"cat": "Node", "name": f"{name}_kernel_time", "dur": 10, "args": arguments}


def test_blocked_layouts_round_channels_up(tmp_path: Path) -> None:
    """Two blocks whose convolutions look alike once they are rounded up; names tell the block."""
    network = network_of([conv("x.0.conv", (12, 12), 16, 3), conv("x.1.conv", (10, 10), 16, 3)])
    reads = [[1, 16, 16, 16], [16, 16, 3, 3], [16]]
    names = (
        "/x/x.0/Relu_output_0_nchwc",
        "/x/x.1/relu/Relu_output_0_nchwc",
        "/Relu_output_0_nchwc",
    )
    events = [node_event(name, "Conv", reads, [1, 16, 16, 16]) for name in names]
    plain = node_event("/y/Relu", "Conv", reads, [1, 16, 16, 16])
    path = write(tmp_path / "ort.json", [*events, plain])
    result = import_profile(path, None, network)
    assert [row.key.in_channels for row in result.rows] == [12, 10]
    assert {line.name: line.reason for line in result.unmatched} == {
        "/Relu_output_0_nchwc": "several operators could be it",
        "/y/Relu": "no operator of the network is like it",
    }
