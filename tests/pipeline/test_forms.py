"""Which forms a target offers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import numpy_helper
from tiny import SHAPE, request, seconds, tiny_network, write_simulator
from tiny import model as tiny_model
from torch import Tensor

from automl.compression import FORMS, Compressor, DenseForm, QuantizedModel, StoredPart
from automl.compression.forms.base import CONVOLUTIONS
from automl.compression.forms.registry import form_of
from automl.cost import required_keys
from automl.errors import SpaceError, UsageError
from automl.export.packed import read_packed, state_dict
from automl.latency import LatencyTable, OpKey, Row, op_key
from automl.latency.header import TableHeader
from automl.methods import Method
from automl.network import Layer, trace_network
from automl.pipeline import SearchRequest, search
from automl.pipeline.forms import check_forms, kernels_of, paying
from automl.policy import Bits, Policy, operators_bytes
from automl.space import SpaceSettings, open_space


class Thinned(DenseForm[int]):
    """The layer as it is, said to take a share of the bytes."""

    name = "thinned"
    ops = (*CONVOLUTIONS, "linear")

    def refusal(self, parameter: int | None, layer: Layer) -> str:
        return ""

    def parameters(self, layer: Layer) -> Sequence[int]:
        return (4,)

    def factors(self, parameter: int, kernel: Tensor, metric: Tensor | None) -> tuple[Tensor, ...]:
        return (kernel,)

    def bytes(self, parameter: int, layer: Layer, bits: Bits) -> Any:
        return operators_bytes([layer], bits) / parameter

    def pack(self, parameter: int, kernel: Tensor) -> tuple[StoredPart, ...]:
        return (StoredPart(kernel.flatten()),)

    def unpack(self, parameter: int, parts: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
        return parts[0].view(*shape)

    def write(self, parameter: int) -> str:
        return str(parameter)

    def read(self, text: str) -> int:
        return int(text)


class Quick(Thinned):
    """The same, with a kernel of its own."""

    name = "quick"
    kernel = "quick"


@pytest.fixture(autouse=True)
def _known() -> Iterator[None]:
    with (
        FORMS.including(Method("thinned", "", "", f"{__name__}:Thinned")),
        FORMS.including(Method("quick", "", "", f"{__name__}:Quick")),
    ):
        yield
    form_of.cache_clear()


def table(*precisions: str) -> LatencyTable:
    header = TableHeader(name="made", device="made", runtime="made")
    rows = [Row(OpKey("conv2d", 8, 8, precision=name), 1e-3) for name in precisions]
    return LatencyTable(header, rows)


def thinned(target: object, out: Path, budget: str) -> SearchRequest:
    """A search of that form alone."""
    options: dict[str, Any] = {"choices": "thinned", "trials": 2}
    return request(target, out / "run", budget, resolutions=(), round_to=None, **options)


def test_a_kernel_is_there_where_a_table_has_rows_of_it() -> None:
    assert kernels_of(table("fp32")) == frozenset()
    assert kernels_of(table("fp32", "fp32+quick", "int8+2:4")) == {"quick", "2:4"}
    assert check_forms(["quick"], "board", table("fp32+quick"), {"latency"}) == ()
    said = r"quick needs a kernel of its own, and board has no rows of one \(fp32\+quick\)"
    with pytest.raises(UsageError, match=said):
        check_forms(["taps", "quick"], "board", table("fp32"), {"latency"})


def test_what_saves_bytes_alone_says_so() -> None:
    (note,) = check_forms(["taps", "thinned"], "board", table("fp32"), {"latency"})
    assert note.startswith("thinned: runs as the layer itself, at its price")
    assert note.endswith("no size is limited")
    (note,) = check_forms(["thinned"], "board", table("fp32"), {"latency", "bytes"})
    assert "limited" not in note
    assert check_forms(["taps"], "board", table("fp32"), {"latency"}) == ()


def test_a_size_is_met_by_what_saves_bytes_alone(tmp_path: Path) -> None:
    found = search(thinned("rpi4", tmp_path, "40%size"))
    assert found.compressed.bytes <= 0.4 * found.dense.bytes
    assert found.compressed.macs == found.dense.macs
    assert any("what it saves is size" in note for note in found.notes)


def test_a_target_without_the_kernel_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="quick needs a kernel"):
        search(request("rpi4", tmp_path / "run", "50%", choices="channels,quick", resolutions=()))


def test_a_simulator_knows_layers_as_themselves(tmp_path: Path) -> None:
    simulator = write_simulator(tmp_path / "simulated.jsonl")
    found = search(thinned(simulator, tmp_path, "60%size"))
    assert found.compressed.bytes <= 0.6 * found.dense.bytes


def test_what_is_offered_costs_less_by_what_is_limited() -> None:
    """By a price that knows the wide operator as slow, the narrow as quick, and no other."""
    layer = Layer("one", "conv2d", 8, 8, (3, 3), padding=(1, 1), in_size=(4, 4), out_size=(4, 4))
    ways = [
        [replace(layer, kernel=(1, 1), padding=(0, 0))],
        [replace(layer, out_channels=2), replace(layer, in_channels=2)],
        [replace(layer, out_channels=8), layer],
    ]
    header = TableHeader(name="made", device="made", runtime="made")

    def offered(narrow: float) -> list[bool]:
        times = zip((layer, *ways[1]), (2e-3, 1e-3, narrow), strict=True)
        rows = [Row(op_key(each), seconds) for each, seconds in times]
        return [*paying(LatencyTable(header, rows), {"latency"}, ["fp32"])(layer, ways)]

    assert offered(1.2e-3) == [False, False, False]
    assert offered(0.8e-3) == [False, True, False]
    for quantity in ("macs", "bytes"):
        assert [*paying(table(), {quantity}, [])(layer, ways)] == [True, True, False]


def test_forms_are_opened_where_they_pay(tmp_path: Path) -> None:
    found = search(
        request("rpi4", tmp_path / "run", "40%MACs", choices="forms", resolutions=(), round_to=None)
    )
    assert any(each.startswith("forms of ") for each in found.notes)
    assert set(found.policy.policy.further["form"].values()) - {"dense"}


def test_numbers_that_a_form_chose_are_not_rounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "bits and thinned:4 of '.*' cannot both be chosen"
    asked = {"choices": "bits,thinned", "resolutions": (), "round_to": None}
    with pytest.raises(SpaceError, match=said):
        search(request("rpi4-1t", tmp_path / "run", "80%", **asked))
    traced = trace_network(tiny_model(), SHAPE, resolutions=())
    maker = Compressor(traced, torch.randn(SHAPE).expand(4, -1, -1, -1), {}, scheme="qdq-u8s8")
    bits, form = {"block.inner": Bits(8, 8)}, {"form": {"block.inner": "thinned:4"}}
    with pytest.raises(SpaceError, match=r"bits and thinned:4 of .* cannot both"):
        maker.make(Policy(bits=bits, further=form))
    maker.make(Policy(bits={"block.outer": Bits(8, 8)}, further=form))
    with monkeypatch.context() as patched:  # a mask: zeros stay zero as integers
        patched.setattr(Thinned, "takes_bits", True)
        model = maker.make(Policy(bits=bits, further=form))
        assert isinstance(model, QuantizedModel)
        with pytest.raises(SpaceError, match="bits and thinned"):
            maker.make(Policy(bits={"block.inner": Bits(4, 32)}, further=form))


@pytest.mark.parametrize("form", ["unstructured", "circulant", "dct"])
def test_the_packed_file_has_the_size_that_was_promised(tmp_path: Path, form: str) -> None:
    asked = request(
        "rpi4", tmp_path / "run", "50%size", choices=form, trials=2, resolutions=(), round_to=None
    )
    found = search(asked)
    assert any(text.startswith(form) for text in found.policy.further["form"].values())
    data = (tmp_path / "run" / "model.weights").read_bytes()
    header = 16 + int.from_bytes(data[12:16], "little")
    assert len(data) - header == found.compressed.bytes
    restored = state_dict(read_packed(tmp_path / "run" / "model.weights"))
    for name, each in found.model.state_dict().items():
        torch.testing.assert_close(restored[name], each, rtol=1e-5, atol=1e-6)


def test_two_of_four_is_chosen_by_rows_of_its_kernel_and_exact_in_the_file(tmp_path: Path) -> None:
    network = tiny_network()
    asked = SpaceSettings(resolutions=(), depth=False, forms=("2:4",))
    keys = required_keys(network, open_space(network, asked))
    rows = [Row(key, seconds(key) * (0.4 if "+2:4" in key.precision else 1.0)) for key in keys]
    names = ("fp32", "fp32+2:4")
    header = TableHeader(name="board", device="made", runtime="onnxruntime", precisions=names)
    LatencyTable.create(tmp_path / "board.jsonl", header, rows)
    options: dict[str, Any] = {"choices": "2:4", "trials": 2, "resolutions": (), "round_to": None}
    found = search(request(tmp_path / "board.jsonl", tmp_path / "run", "70%", **options))
    chosen = {
        part for part, text in found.policy.policy.further["form"].items() if text == "2:4"
    } & {"block.inner", "block.outer"}
    assert chosen
    graph = onnx.load(tmp_path / "run" / "model.onnx").graph
    weights = [numpy_helper.to_array(each) for each in graph.initializer if len(each.dims) == 4]
    wide = [torch.from_numpy(each.copy()) for each in weights if each.shape[1] == 16]
    exact = [each for each in wide if ((each != 0).unflatten(1, (4, 4)).sum(2) == 2).all()]
    assert len(exact) == len(chosen)
    state = found.model.state_dict()
    kept = [state[f"{name}.weight"] for name in chosen]
    assert all(any(torch.equal(each != 0, mask != 0) for mask in exact) for each in kept)
