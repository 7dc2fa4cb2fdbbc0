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

from automl.compression import BLOCKS, FORMS, Compressor, DenseForm, QuantizedModel, StoredPart
from automl.compression.forms.base import CONVOLUTIONS
from automl.compression.forms.registry import form_of
from automl.cost import operators_of, required_keys
from automl.errors import SpaceError, UsageError
from automl.export.packed import read_packed, state_dict
from automl.latency import LatencyTable, OpKey, Row, op_key
from automl.latency.header import TableHeader
from automl.methods import Method
from automl.network import Layer, trace_network
from automl.pipeline import SearchRequest, search
from automl.pipeline.forms import check_forms, kernels_of, paying
from automl.pipeline.pricing import PricedNetwork, price_network
from automl.pipeline.requests import ignore
from automl.policy import Bits, Policy, Precisions, operators_bytes, plain_precision
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


def board(folder: Path, names: Sequence[str], *, leave: Sequence[str] = (), **left: Any) -> Path:
    """A measured table of 2:4 beside plain kernels, for the tiny model.

    Args:
        folder: Of the file.
        names: Precisions that have rows; those of sparse kernels take 0.4 of the time.
        leave: Sparse rows of convolutions from so many channels to as many that are not there.
        left: What is open beside 2:4.
    """
    network = tiny_network()
    bits = Precisions(tuple(names)).bits
    asked = SpaceSettings(resolutions=(), depth=False, forms=("2:4",), precisions=bits, **left)
    every = required_keys(network, open_space(network, asked), precisions=Precisions(tuple(names)))
    rows = [
        Row(key, seconds(replace(key, precision=plain)) * (0.4 if plain != key.precision else 1.0))
        for key in every
        for plain in [plain_precision(key.precision)]
        if key.precision in names
        and not ("+2:4" in key.precision and f"{key.in_channels}-{key.out_channels}" in leave)
    ]
    header = TableHeader(name="board", device="made", runtime="onnxruntime", precisions=names)
    LatencyTable.create(folder / "board.jsonl", header, rows)
    return folder / "board.jsonl"


def sparse(target: Path, out: Path, budget: str = "70%", **changes: Any) -> SearchRequest:
    """A search that may choose 2:4."""
    asked: dict[str, Any] = {"choices": "2:4", "trials": 2, "resolutions": (), "round_to": None}
    return request(target, out / "run", budget, **(asked | changes))


def priced(asked: SearchRequest) -> PricedNetwork:
    """Its choices with their prices."""
    traced = trace_network(asked.task.model, SHAPE, resolutions=())
    return price_network(traced, asked, on_event=ignore)


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
    target = board(tmp_path, ("fp32", "fp32+2:4"))
    found = search(sparse(target, tmp_path))
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


def test_two_of_four_has_the_plain_price_where_fours_of_channels_are_not_whole(
    tmp_path: Path,
) -> None:
    target = board(tmp_path, ("fp32", "fp32+2:4"), round_to=2)
    network = priced(sparse(target, tmp_path, choices="channels,2:4", round_to=2))
    costs = network.costs
    form = {"block.outer": "2:4"}
    group = next(each for each in network.traced.network.groups if each.name == "block.inner")
    assert group.channels == 16
    for kept in (6, 8, 10, 12, 14, 16):
        plain = costs.cost(Policy({group.name: kept})).latency
        both = costs.cost(Policy({group.name: kept}, further={"form": form})).latency
        keys = operators_of(
            network.traced.network,
            Policy({group.name: kept}, further={"form": form}),
            Precisions(("fp32",)),
        )
        assert any(key.precision == "fp32+2:4" for key in keys) == (kept % 4 == 0)
        assert both == pytest.approx(plain) if kept % 4 else both < 0.95 * plain


def test_a_layer_without_rows_of_the_kernel_is_not_offered_it(tmp_path: Path) -> None:
    target = board(tmp_path, ("fp32", "fp32+2:4"), leave=("16-4",))
    network = priced(sparse(target, tmp_path))
    names = {network.space.variables[place].name for place in network.space.of_kind("form")}
    assert names == {"block.inner", "block.outer"}
    assert any("cannot price 2:4 of head:" in note for note in network.notes)
    found = search(sparse(target, tmp_path))
    assert "head" not in found.policy.policy.further["form"]


def test_a_width_without_rows_of_the_kernel_counts_as_a_layer_without(tmp_path: Path) -> None:
    cut = tuple(f"{read}-{written}" for read in (4, 8) for written in (16,))
    target = board(tmp_path, ("fp32", "fp32+2:4"), leave=cut, round_to=4)
    network = priced(sparse(target, tmp_path, choices="channels,2:4", round_to=4))
    names = {network.space.variables[place].name for place in network.space.of_kind("form")}
    assert "block.outer" not in names
    assert "head" in names


def test_a_form_that_no_layer_has_rows_of_is_refused(tmp_path: Path) -> None:
    target = board(tmp_path, ("fp32", "fp32+2:4"), leave=("16-16", "16-4"))
    elsewhere = OpKey("conv2d", 64, 64, precision="fp32+2:4")
    table = LatencyTable.read(target)
    table.append([Row(elsewhere, 1e-6)])
    said = r"board\.jsonl cannot price 2:4 of any layer of this network"
    with pytest.raises(UsageError, match=said):
        search(sparse(target, tmp_path))


def test_other_operators_that_a_table_lacks_are_not_offered_either(tmp_path: Path) -> None:
    """Of a table of measured rows alone: those of one layer's taps, not of the other's."""
    network = tiny_network()
    settings = SpaceSettings(resolutions=(), depth=False, round_to=16, forms=("taps",))
    keys = required_keys(network, open_space(network, settings))
    kept = [key for key in keys if key.in_channels != 3 or key.kernel == (3, 3)]
    assert len(kept) < len(keys)
    header = TableHeader(name="board", device="made", runtime="onnxruntime")
    target = tmp_path / "board.jsonl"
    LatencyTable.create(target, header, [Row(key, seconds(key)) for key in kept])
    found = priced(sparse(target, tmp_path, choices="taps"))
    names = {found.space.variables[place].name for place in found.space.of_kind("form")}
    assert names == {"block.inner", "block.outer"}
    assert any("cannot price taps of stem:" in note for note in found.notes)


INT8 = Bits(8, 8)


def both_ways(network: PricedNetwork, layer: str) -> list[float]:
    """Latency of the network with one layer plain in float and integers, and sparse in both."""
    forms = ({}, {"form": {layer: "2:4"}})
    return [
        network.costs.cost(Policy(bits=bits, further=further)).latency
        for further in forms
        for bits in ({}, {layer: INT8})
    ]


def test_two_of_four_in_integers_is_priced_by_rows_of_their_kernel(tmp_path: Path) -> None:
    target = board(tmp_path, ("fp32", "int8", "fp32+2:4", "int8+2:4"))
    asked = sparse(target, tmp_path, "35%", choices="bits,2:4")
    plain, rounded, sparse_, both = both_ways(priced(asked), "block.inner")
    assert both < sparse_ < plain
    assert both < rounded < plain
    found = search(asked)
    policy = found.policy.policy
    chosen = {part for part, text in policy.further["form"].items() if text == "2:4"}
    assert {part for part in chosen if policy.bits.get(part) == INT8}
    graph = onnx.load(tmp_path / "run" / "model.onnx").graph
    stored = [numpy_helper.to_array(each) for each in graph.initializer]
    integers = [each for each in stored if each.dtype.name == "int8" and each.shape[1:2] == (16,)]
    masks = [torch.from_numpy(each.copy()) != 0 for each in integers if each.ndim == 4]
    assert any((mask.unflatten(1, (4, 4)).sum(2) <= 2).all() for mask in masks)


def test_where_integers_have_no_sparse_kernel_the_plain_one_prices_both(tmp_path: Path) -> None:
    target = board(tmp_path, ("fp32", "int8", "fp32+2:4"))
    network = priced(sparse(target, tmp_path, choices="bits,2:4"))
    plain, rounded, sparse_, both = both_ways(network, "block.inner")
    assert both == pytest.approx(rounded)
    assert sparse_ < plain
    assert any("no rows of int8+2:4: 2:4 is priced by the plain kernel" in n for n in network.notes)


def test_a_kernel_in_integers_alone_is_refused_where_all_is_float(tmp_path: Path) -> None:
    target = board(tmp_path, ("fp32", "int8", "int8+2:4"))
    with pytest.raises(UsageError, match=r"2:4 needs a kernel of its own.*\(fp32\+2:4\)"):
        priced(sparse(target, tmp_path, precisions="float"))
    priced(sparse(target, tmp_path, choices="bits,2:4"))


def binaries(folder: Path, *, leave: bool = False, kernel: bool = True) -> Path:
    """A measured table of the tiny model with binary convolutions beside plain ones.

    Args:
        folder: Of the file.
        leave: Whether rows of the unit's binary convolutions are not there.
        kernel: Whether there are any of that kernel.
    """
    network, names = tiny_network(), ("fp32", "fp32+binary")
    open_kinds = {"kinds": ("alternative",), "alternatives": tuple(BLOCKS.names())}
    asked = SpaceSettings(resolutions=(), depth=False, **open_kinds)  # type: ignore[arg-type]
    every = required_keys(network, open_space(network, asked), precisions=Precisions(names))
    rows = [
        Row(key, seconds(replace(key, precision="fp32")) * (0.2 if "+" in key.precision else 1.0))
        for key in every
        if not ("+" in key.precision and (leave or not kernel))
    ]
    assert any("+binary" in key.precision for key in every)
    rows += [Row(OpKey("conv2d", 64, 64, precision="fp32+binary"), 1e-6)] * kernel
    header = TableHeader(name="board", device="made", runtime="onnxruntime", precisions=names)
    LatencyTable.create(folder / "board.jsonl", header, rows)
    return folder / "board.jsonl"


def test_binary_units_are_chosen_by_rows_of_their_kernel(tmp_path: Path) -> None:
    target = binaries(tmp_path)
    found = search(sparse(target, tmp_path, "80%", choices="binary"))
    assert dict(found.policy.policy.further["alternative"]) == {"block.inner": "binary"}
    keys = operators_of(tiny_network(), found.policy.policy, Precisions(("fp32", "fp32+binary")))
    assert [key.precision for key in keys].count("fp32+binary") == 1
    sizes = [
        module.weight.abs().flatten(1)
        for module in found.model.modules()
        if isinstance(module, torch.nn.Conv2d)
    ]
    held = [torch.allclose(rows, rows[:, :1].expand_as(rows), rtol=1e-5) for rows in sizes]
    assert held.count(True) == 1


def test_binary_units_are_offered_where_their_kernel_has_rows_and_never_else(
    tmp_path: Path,
) -> None:
    def offered(target: Path, choices: str) -> set[object]:
        network = priced(sparse(target, tmp_path, choices=choices))
        some = map(network.space.variables.__getitem__, network.space.of_kind("alternative"))
        return {option for variable in some for option in variable.options}

    none, some, all_rows = (tmp_path / name for name in ("none", "some", "all"))
    for folder in (none, some, all_rows):
        folder.mkdir()
    target = binaries(none, kernel=False)
    assert offered(target, "alternative") >= {"half-width"}
    assert "binary" not in offered(target, "alternative")
    with pytest.raises(UsageError, match=r"binary needs a kernel of its own.*\(fp32\+binary\)"):
        priced(sparse(target, tmp_path, choices="half-width,binary"))
    assert "binary" in offered(binaries(all_rows), "half-width,binary")
    target = binaries(some, leave=True)
    network = priced(sparse(target, tmp_path, choices="half-width,binary"))
    assert any("cannot price binary of block.inner:" in note for note in network.notes)
    assert "binary" not in offered(target, "half-width,binary")
