"""Layers that became one and have bits: priced, measured, searched, made, exported, packed."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from merging_networks import Chain
from tiny import agreement

from automl.cli.policies import show
from automl.compression import (
    QParams,
    QuantizedModel,
    matrix,
    measure_sensitivity,
)
from automl.cost import (
    CostModel,
    build_cost_model,
    operators_of,
    required_keys,
    with_bits_that_run,
)
from automl.errors import InfeasibleError
from automl.export import onnx_bytes
from automl.export.agreement import check_quantized
from automl.export.packed import write_packed
from automl.network import TracedModel, chains
from automl.pipeline import ApplyRequest, SearchRequest, Task, apply, search
from automl.pipeline.networks import timed_onnx
from automl.pipeline.writing import stored
from automl.policy import Bits, Policy, read_policy
from automl.space import Space, merges_of
from automl.testing.networks import SHAPE, drawn, loss
from automl.userdata.data import Batches, Data
from bits_networks import INT8, Prices, counted
from merged_networks import ALL, LAYERS, TARGET, chain, inputs, kinds, made, residual, space_of


def costs_of(read: TracedModel, space: Space) -> CostModel:
    return build_cost_model(read.network, space, Prices(), precisions=TARGET)


@pytest.mark.parametrize("read", [chain, residual])
def test_prices_are_those_of_the_network_that_is_left(read: Any) -> None:
    space = space_of(read(), round_to=4)
    costs = costs_of(read(), space)
    vectors = space.random(300, np.random.default_rng(0))
    policies = [space.decode(vector) for vector in vectors]
    expected = [counted(policy, read()) for policy in policies]
    np.testing.assert_allclose(costs.price(vectors)[:, 0], expected, rtol=1e-12)
    asked = {*required_keys(read().network, space, precisions=TARGET)}
    for policy in policies[:50]:
        assert {*operators_of(read().network, policy, TARGET)} <= asked


@pytest.mark.parametrize("read", [chain, residual])
def test_factors_hold_all_of_it(read: Any) -> None:
    space = space_of(read())
    costs = costs_of(read(), space)
    factors, whole = costs.factors()
    assert whole
    for vector in space.random(40, np.random.default_rng(2)):
        sums = []
        for auxiliary in itertools.product(*map(range, costs.auxiliary)):
            chosen = np.array([*vector, *auxiliary])
            terms = (each.table[tuple(chosen[[*each.scope]])][0] for each in factors)
            sums.append(costs.constant[0] + sum(terms))
        assert np.isclose(min(sums), costs.price(vector[None])[0, 0], rtol=1e-12)


def test_a_first_layer_that_keeps_its_bits_is_merged_into_none() -> None:
    """A last one may be what others become: the one has its bits. The rest is priced as it was."""
    few = (Bits(4, 4), INT8)
    free, held = (space_of(chain(), precisions=few, keep_first_last=keep) for keep in (False, True))
    opened = [[each.variables[i].name for i in each.of_kind("merge")] for each in (free, held)]
    assert opened == [["a", "b", "body.expand"], ["b", "body.expand"]]
    policies = [held.decode(vector) for vector in held.random(50, np.random.default_rng(0))]
    assert {policy.bits[name] for policy in policies for name in ("a", "head")} == {INT8}
    assert {policy.bits["c"] for policy in policies} == {*few}
    held = space_of(chain(), round_to=4, keep_first_last=True)
    vectors = held.random(200, np.random.default_rng(1))
    expected = [counted(held.decode(vector), chain()) for vector in vectors]
    costs = costs_of(chain(), held)
    np.testing.assert_allclose(costs.price(vectors)[:, 0], expected, rtol=1e-12)
    maker = made("qdq-u8s8")
    found = measure_sensitivity(
        maker.database, held, maker.images[:8], rounded=maker.joint, merging=maker.merging
    )
    merges = [*held.of_kind("merge")]
    assert all(found.single[each][0] > 0.0 for each in merges)
    # without bits to hold there is nothing that merges would change
    float_only = space_of(chain(), precisions=(), keep_first_last=True)
    assert len(float_only.of_kind("merge")) == 3


@pytest.mark.parametrize("keep", [False, True])
def test_a_search_that_holds_the_first_layer_does_not_merge_it(tmp_path: Path, keep: bool) -> None:
    """Where it is free, three layers become one; where not, so small a network is refused."""
    data = Data(labelled(64, 1), labelled(24, 2), None)
    task = Task(drawn(Chain, 0).eval(), data, agreement, SHAPE, "chain", "random", "agreement")
    asked = SearchRequest(
        task=task,
        target="rpi4-1t",
        budget=("24%size",),
        out=tmp_path,
        precisions=("int8",),
        choices="bits,merge",
        trials=1,
        resolutions=(),
        keep_first_last=keep,
    )
    if keep:
        with pytest.raises(InfeasibleError, match="no policy of this space"):
            search(asked)
        return
    found = search(asked)
    assert isinstance(found.model, QuantizedModel)
    assert "a" not in found.model.weights


def test_its_bits_are_those_of_the_last_layer_and_the_others_mean_nothing() -> None:
    space = space_of(chain())
    policy = Policy(bits={"a": INT8, "b": INT8, "c": INT8, "body.depth": INT8}, further=ALL)
    kept = space.decode(space.encode(policy))
    assert {name for name, bits in kept.bits.items() if bits == INT8} == {"c"}
    maker = made("qdq-u8s8")
    model = maker.make(policy)
    assert isinstance(model, QuantizedModel)
    assert {*model.weights} == {"c"}
    assert model.network.get_submodule("c").weight.shape == (8, 3, 5, 5)
    assert not isinstance(maker.make(Policy(bits={"a": INT8}, further=ALL)), QuantizedModel)


def test_targets_without_floats_have_merges_too() -> None:
    space = space_of(chain(), precisions=(Bits(4, 4), Bits(8, 8)))
    vector = space.dense.copy()
    vector[[*space.of_kind("merge")]] = 0
    policy = space.decode(space.canonical(vector))
    model = made().make(policy)
    assert isinstance(model, QuantizedModel)
    assert {*model.weights} == {*LAYERS}


@pytest.mark.parametrize("name", ["least-squares", "independent", "thinet-scale", "block-rounding"])
def test_every_reconstruction_rounds_it(name: str) -> None:
    maker = made("qdq-u8s8", reconstruction=name)
    bits = dict.fromkeys(LAYERS, Bits(4, 8) if name == "block-rounding" else INT8)
    model = maker.make(Policy({"c": 6}, bits=bits, further=ALL))
    assert isinstance(model, QuantizedModel)
    for layer in LAYERS:
        store = model.weights[layer]
        assert isinstance(store, QParams)
        codes = matrix(model.network.get_submodule(layer)) / store.scale
        torch.testing.assert_close(codes, codes.round(), rtol=0, atol=1e-3)
    assert loss(maker, model) < 1.0


@pytest.mark.parametrize(
    "scheme",
    [
        *("qdq-u8s8", "qdq-u8s7", "qdq-u8u8", "qdq-s8s8"),
        *("qdq-s8s8-residual", "qdq-u8s8-tensor", "qdq-s8s8-tensor"),
    ],
)
@pytest.mark.parametrize("some", [LAYERS, LAYERS[:1], LAYERS[1:2]])
def test_the_file_computes_what_is_scored(scheme: str, some: tuple[str, ...]) -> None:
    maker = made(scheme)
    model = maker.make(Policy(bits=dict.fromkeys(some, INT8), further=ALL))
    assert isinstance(model, QuantizedModel)
    content = onnx_bytes(model, SHAPE)
    assert check_quantized(content, model, inputs(32, 3)).alike == 1.0
    assert kinds(content)["Conv"] == 2


def test_the_network_that_is_timed_has_its_operators() -> None:
    """One that is measured without weights has the same nodes as the one that is exported."""
    policy = Policy(bits=dict.fromkeys(LAYERS, INT8), further=ALL)
    header = table_header()
    timed = kinds(timed_onnx(chain(), policy, header))
    exported = kinds(onnx_bytes(made("qdq-u8s8").make(policy), SHAPE))
    for name in ("Conv", "Gemm", "Add", "QuantizeLinear"):
        assert timed.get(name) == exported.get(name)


def table_header() -> Any:
    from automl.latency.header import TableHeader

    return TableHeader(
        name="board",
        device="Made-up board",
        runtime="onnxruntime",
        threads=1,
        precisions=("fp32", "int8"),
        scheme="qdq-u8s8",
    )


def labelled(count: int, seed: int) -> Batches:
    some = inputs(count, seed)
    with torch.no_grad():
        return Batches(((some, drawn(Chain, 0).eval()(some)),))


@pytest.mark.parametrize("read", [chain, residual])
def test_bits_that_run_are_those_that_are_priced(read: Any) -> None:
    """Without those of layers that others run for the network is the same one, and none are."""
    space = space_of(read())
    for vector in space.random(60, np.random.default_rng(3)):
        policy = space.decode(vector)
        lean = with_bits_that_run(read().network, policy)
        chosen = chains(read().network.merges, merges_of(policy))
        assert policy.bits.keys() - lean.bits.keys() == {
            name for each in chosen for name in each[:-1]
        }
        assert replace(lean, bits=policy.bits) == policy
        assert operators_of(read().network, lean, TARGET) == operators_of(
            read().network, policy, TARGET
        )
        assert np.array_equal(space.encode(lean), vector)


def test_a_search_chooses_both_and_apply_makes_it_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All layers in integers are too large: some have to be one, in integers too."""
    data = Data(labelled(64, 1), labelled(24, 2), None)
    task = Task(drawn(Chain, 0).eval(), data, agreement, SHAPE, "chain", "random", "agreement")
    asked = SearchRequest(
        task=task,
        target="rpi4-1t",
        budget=("27%size",),
        out=tmp_path / "run",
        precisions=("int8",),
        choices="bits,merge",
        trials=3,
        resolutions=(),
        round_to=None,
    )
    found = search(asked)
    policy = found.policy.policy
    merged = [name for name, text in policy.further["merge"].items() if text == "merged"]
    assert merged
    lasts = {each.last for each in chain().network.merges if each.name in merged}
    assert any(policy.bits[name] == INT8 for name in lasts)
    went = {name for each in chains(chain().network.merges, merged) for name in each[:-1]}
    assert went
    assert went.isdisjoint(policy.bits)
    capsys.readouterr()
    show(found.policy_path)
    told = capsys.readouterr().out
    listed = re.findall(r"^(?:int8|fp32) +(.*)$", told, re.MULTILINE)
    assert {name for line in listed for name in line.split(", ")} == {*policy.bits}
    assert isinstance(found.model, QuantizedModel)
    size = write_packed(tmp_path / "w.bin", stored(found.model))
    data_of = (tmp_path / "w.bin").read_bytes()
    header = 16 + int.from_bytes(data_of[12:16], "little")
    assert size - header == found.policy.predicted.bytes
    read = read_policy(found.policy_path)
    assert read.policy == policy
    some = inputs(4, 9)
    for turn in ("one", "two"):
        again = apply(
            ApplyRequest(
                task=task,
                policy=read,
                out=tmp_path / f"{turn}.pt",
                export=tmp_path / f"{turn}.onnx",
            )
        )
        assert torch.equal(again.model(some), found.model(some))
    content = (tmp_path / "one.onnx").read_bytes()
    assert content == (tmp_path / "two.onnx").read_bytes()
    assert check_quantized(content, found.model, inputs(32, 3)).alike == 1.0
