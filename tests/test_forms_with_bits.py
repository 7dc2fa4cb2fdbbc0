"""Layers of another form whose parts compute in integers: made, priced, searched, exported."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from tiny import SHAPE, request, task
from torch import Tensor, nn
from torch.nn import functional as F

from automl.compression import Compressor, QParams, QuantizedModel, form_of, matrix
from automl.compression.forms import building
from automl.cost import build_cost_model
from automl.export import onnx_bytes
from automl.export.agreement import check_quantized
from automl.export.packed import write_packed
from automl.network import TracedModel, trace_network
from automl.pipeline import ApplyRequest, apply, search
from automl.pipeline.writing import stored
from automl.policy import Bits, Policy, read_policy
from automl.space import SpaceSettings, open_space
from handmade import Formula

MAPS = (1, 3, 12, 12)
INT8 = Bits(8, 8)


class Padding(nn.Conv2d):
    """Pads by itself."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (1, 1, 1, 1)), self.weight, self.bias)


class Block(nn.Module):
    """Two convolutions around the identity."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Conv2d(12, 12, 3, padding=1), nn.Conv2d(12, 12, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.outer(F.relu(self.inner(x))))


class Net(nn.Module):
    """Two blocks, one of which can be left out, behind a layer with a forward of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.own = nn.Conv2d(3, 12, 3, padding=1), Padding(12, 12, 3)
        self.one, self.two, self.head = Block(), Block(), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.own(F.relu(self.stem(x))))
        return self.head(self.two(self.one(x)).mean((2, 3)))


def inputs(count: int, seed: int) -> Tensor:
    return torch.randn((count, *MAPS[1:]), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def traced() -> TracedModel:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return trace_network(Net().eval(), MAPS, resolutions=())


@pytest.fixture(scope="module")
def maker(traced: TracedModel) -> Compressor:
    counts = {group.name: (group.channels // 2,) for group in traced.network.groups}
    return Compressor(traced, inputs(64, 0), counts, scheme="qdq-u8s8")


FORMS = {
    "own": "rank-spatial:6",
    "one.inner": "rank-spatial:6",
    "one.outer": "separable:2",
    "two.inner": "tucker:6-6",
    "two.outer": "rank-channel:last-6",
}
LAYERS = ("stem", *FORMS, "head")
ALL = dict.fromkeys(LAYERS, INT8)


def lost(traced: TracedModel, model: nn.Module) -> float:
    some = inputs(64, 9)
    with torch.no_grad():
        dense, found = traced.model(some), model(some)
    return float((found - dense).square().mean() / dense.var(0).mean())


def halved(traced: TracedModel) -> dict[str, int]:
    return {group.name: group.channels // 2 for group in traced.network.groups}


CASES = {
    "all": Policy(bits=ALL, further={"form": FORMS}),
    "of a layer whose parts are floats": Policy(
        bits={name: INT8 for name in LAYERS if name != "two.inner"}, further={"form": FORMS}
    ),
    "one tap": Policy(bits=ALL, further={"form": {"one.inner": "taps:1x3", "own": "taps:3x1"}}),
    "a block left out": Policy(removed=frozenset({"one"}), bits=ALL, further={"form": FORMS}),
    "channels in another order": Policy(
        bits=ALL,
        further={
            "form": {
                "own": "ghost:2-last",
                "one.inner": "grouped:4",
                "one.outer": "ghost:3-first",
                "two.outer": "shift",
            }
        },
    ),
    "4 bits": Policy(bits=dict.fromkeys(LAYERS, Bits(4, 8)), further={"form": FORMS}),
}


@pytest.mark.parametrize("case", CASES)
def test_each_part_is_rounded_and_the_file_computes_it(
    traced: TracedModel, maker: Compressor, case: str
) -> None:
    policy = CASES[case]
    model = maker.make(policy)
    assert isinstance(model, QuantizedModel)
    for name, module in model.network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and name in model.bits:
            store = model.weights[name]
            assert isinstance(store, QParams)
            codes = matrix(module) / store.scale
            torch.testing.assert_close(codes, codes.round(), rtol=0, atol=1e-3)
            assert codes.abs().max() <= store.highest + 1e-3
    inner = model.network.get_submodule("two.inner")
    if case == "all":
        assert [f"two.inner.{part}" in model.bits for part in range(len(inner))] == [True] * 3
        assert {("two.inner.0", 0), ("two.inner.1", 0)} <= model.plan.rounding.outputs.keys()
    if case == "of a layer whose parts are floats":
        assert not any(name.startswith("two.inner") for name in model.weights)
    assert check_quantized(onnx_bytes(model, MAPS), model, inputs(32, 3)).alike == 1.0


@pytest.mark.parametrize("finish", [True, False])
def test_each_part_is_made_once_of_a_candidate(
    traced: TracedModel, finish: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = Compressor(traced, inputs(64, 0), {}, scheme="qdq-u8s8")
    made, build = Counter[tuple[str, Any]](), building.built

    def counted(form: Any, parameter: Any, module: nn.Module) -> nn.Module:
        made[form.name, parameter] += 1
        return build(form, parameter, module)

    monkeypatch.setattr(building, "built", counted)
    for times in (1, 2):
        maker.make(CASES["all"], finish=finish)
        asked = Counter(FORMS.values())
        found = {
            f"{name}:{form_of(name).write(parameter)}": n for (name, parameter), n in made.items()
        }
        assert found == {text: times * count for text, count in asked.items()}


@pytest.mark.parametrize("scheme", ["qdq-u8s7", "qdq-u8u8", "qdq-s8s8", "qdq-s8s8-residual"])
def test_it_is_what_runs_in_each_scheme(traced: TracedModel, scheme: str) -> None:
    maker = Compressor(traced, inputs(32, 0), {}, scheme=scheme)
    model = maker.make(CASES["all"])
    assert isinstance(model, QuantizedModel)
    assert check_quantized(onnx_bytes(model, MAPS), model, inputs(32, 3)).alike == 1.0


def test_weights_alone_of_each_part_share_values(maker: Compressor) -> None:
    model = maker.make(Policy(bits=dict.fromkeys(LAYERS, Bits(3, 32)), further={"form": FORMS}))
    assert isinstance(model, QuantizedModel)
    parts = [name for name in model.weights if name.startswith("one.inner.")]
    assert len(parts) == 2
    for name in parts:
        assert len(matrix(model.network.get_submodule(name)).unique()) <= 8


class Mixer(nn.Module):
    """Linear layers over tokens around a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner = nn.Linear(12, 16), nn.Linear(16, 16)
        self.last, self.head = nn.Linear(16, 16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.flatten(1).view(-1, 36, 12))
        x = x + self.last(F.relu(self.inner(x)))
        return self.head(x.mean(1))


def test_linear_layers_of_two_parts_are_rounded_too() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        traced = trace_network(Mixer().eval(), MAPS, resolutions=())
    maker = Compressor(traced, inputs(64, 0), {}, scheme="qdq-u8s8")
    forms = dict.fromkeys(("inner", "last"), "rank-channel:first-6")
    bits = dict.fromkeys(("first", "inner", "last", "head"), INT8)
    model = maker.make(Policy(bits=bits, further={"form": forms}))
    assert isinstance(model, QuantizedModel)
    assert {"inner.0", "inner.1", "last.0", "last.1", "head"} <= model.weights.keys()
    floats = maker.make(Policy(further={"form": forms}))
    assert lost(traced, model) < 1.1 * lost(traced, floats) + 2e-3
    assert check_quantized(onnx_bytes(model, MAPS), model, inputs(32, 3)).alike == 1.0


def test_the_finishing_step_makes_good_and_little_is_lost_beside_floats(
    traced: TracedModel, maker: Compressor
) -> None:
    policy = CASES["all"]
    floats = lost(traced, maker.make(Policy(further=policy.further)))
    finished = lost(traced, maker.make(policy))
    assert finished < 1.1 * floats + 1e-3
    assert finished < lost(traced, maker.make(policy, finish=False))


def test_the_mean_of_what_a_layer_writes_is_kept_where_its_parts_are_coarse(
    traced: TracedModel, maker: Compressor
) -> None:
    """The last part's bias takes out what the parts before it lost."""
    layers = ("one.inner", "two.outer")
    forms = {name: FORMS[name] for name in layers}
    made = maker.make(
        Policy(bits=dict.fromkeys(layers, Bits(3, 8)), further={"form": forms}), finish=False
    )
    written: dict[str, Tensor] = {}
    handles = [
        network.get_submodule("one.inner").register_forward_hook(
            lambda _, __, output, key=key: written.update({key: output.mean((0, 2, 3))})
        )
        for key, network in (("dense", traced.model), ("made", made.network))
    ]
    with torch.no_grad():
        traced.model(maker.images[:])
        made(maker.images[:])
    for handle in handles:
        handle.remove()
    spread = written["dense"].abs().mean()
    assert (written["made"] - written["dense"]).abs().mean() < 0.05 * spread


def test_with_channels_cut_it_weighs_what_is_promised(
    traced: TracedModel, maker: Compressor, tmp_path: Path
) -> None:
    settings = SpaceSettings(precisions=(INT8, Bits()), kinds=("form",), round_to=1)
    space = open_space(traced.network, settings)
    costs = build_cost_model(traced.network, space, Formula(), counts=17)
    options = {variable.name: variable.options for variable in space.variables}
    forms = {name: FORMS[name] for name in FORMS if name in options}
    policy = Policy(halved(traced), bits=ALL, further={"form": forms})
    promised = costs.cost(policy).bytes
    size = write_packed(tmp_path / "w.bin", stored(maker.make(policy)))
    empty = write_packed(tmp_path / "none.bin", {})
    assert promised <= size - empty <= promised + 2500  # the header's names


def test_a_search_chooses_both_and_apply_makes_it_again(tmp_path: Path) -> None:
    asked = request(
        "rpi4-1t",
        tmp_path / "run",
        "90%MACs",
        "12%size",
        precisions=("int8",),
        choices="bits,taps",
        trials=3,
        resolutions=(),
        round_to=None,
    )
    found = search(asked)
    policy = found.policy.policy
    forms = [text for text in policy.further["form"].values() if text != "dense"]
    assert forms
    assert any(bits == INT8 for bits in policy.bits.values())
    assert isinstance(found.model, QuantizedModel)
    made = apply(
        ApplyRequest(
            task=task(),
            policy=read_policy(found.policy_path),
            out=tmp_path / "m.pt",
            export=tmp_path / "m.onnx",
        )
    )
    some = torch.randn((2, *SHAPE[1:]), generator=torch.Generator().manual_seed(9))
    torch.testing.assert_close(made.model(some), found.model(some))
    graph = onnx.load(tmp_path / "m.onnx").graph
    convolutions = [each for each in graph.node if each.op_type == "Conv"]
    layers = [each for each in found.model.modules() if isinstance(each, nn.Conv2d)]
    assert len(convolutions) == len(layers)
