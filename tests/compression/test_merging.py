"""One layer makes up for the activation that it dropped, and goes with all other choices."""

from __future__ import annotations

import re

import pytest
import torch
from merging_networks import Chain, Straight
from torch import Tensor, nn

from automl.compression import CompressionConfig, Compressor, QuantizedModel, merged_chains
from automl.errors import SpaceError
from automl.export import onnx_bytes
from automl.network import merge_layers, trace_network
from automl.policy import Bits, Policy
from automl.testing.networks import SHAPE, compressor_of, drawn, loss

ALL = {"merge": {"a": "merged", "body.expand": "merged"}}


def made(make: type[nn.Module] = Chain, scheme: str | None = None, **config: str) -> Compressor:
    traced = trace_network(drawn(make, 0).eval(), SHAPE, resolutions=(6,))
    return compressor_of(traced, CompressionConfig(**config), scheme=scheme)  # type: ignore[arg-type]


def merge(*names: str) -> Policy:
    return Policy(further={"merge": dict.fromkeys(names, "merged")})


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(each.shape) for name, each in model.named_parameters()}


@pytest.mark.parametrize("name", ["a", "b", "body.expand"])
def test_it_loses_less_than_the_product_of_the_weights(name: str) -> None:
    maker = made()
    product = maker.database.candidate(Policy())
    (chain,) = merged_chains(maker.traced, merge(name))
    merge_layers(product, chain)
    alone = loss(maker, maker.make(merge(name), finish=False))
    assert alone < 0.7 * loss(maker, product)
    assert loss(maker, maker.make(merge(name))) < 1.1 * alone


def test_without_anything_between_nothing_is_lost() -> None:
    maker = made(Straight)
    model = maker.make(merge("one"))
    assert loss(maker, model) < 1e-9
    assert shapes(model)["two.weight"] == (6, 3, 5, 5)


def test_three_become_one() -> None:
    model = made().make(merge("a", "b"))
    found = shapes(model)
    assert found["c.weight"] == (8, 3, 5, 5)
    assert not {"a.weight", "b.weight"} & found.keys()


def test_channels_around_it_are_cut_and_those_inside_are_gone() -> None:
    maker = made()
    groups = {group.name: group.channels for group in maker.traced.network.groups}
    assert groups["b"] == 10
    policy = Policy({"b": 6, "c": 5}, further=ALL)
    model = maker.make(policy)
    found = shapes(model)
    assert found["b.weight"] == (6, 3, 3, 3)
    assert found["body.project.weight"] == (5, 5, 3, 3)
    whole = loss(maker, maker.make(Policy(further=ALL)))
    assert whole < loss(maker, model) < 1.0
    assert loss(maker, model) < loss(maker, maker.make(policy, finish=False))


def test_at_another_resolution() -> None:
    maker = made()
    policy = Policy(resolution=6, further=ALL)
    model = maker.make(policy)
    found = model(torch.zeros(2, 3, 6, 6))
    assert found.shape == (2, 5)


@pytest.mark.parametrize("name", ["least-squares", "independent", "thinet-scale", "block-rounding"])
def test_every_reconstruction_finishes_it(name: str) -> None:
    maker = made(reconstruction=name)
    model = maker.make(Policy({"c": 6}, further=ALL))
    assert loss(maker, model) < 1.0


@pytest.mark.parametrize("scheme", ["reads", "qdq-u8s8"])
def test_other_layers_have_bits(scheme: str) -> None:
    maker = made(scheme=None if scheme == "reads" else scheme)
    bits = {"c": Bits(8, 8), "head": Bits(8, 8)}
    model = maker.make(Policy(bits=bits, further=ALL))
    assert isinstance(model, QuantizedModel)
    assert {*model.weights} == {*bits}
    floats = loss(maker, maker.make(Policy(further=ALL)))
    assert loss(maker, model) < 1.1 * floats + 0.01
    unfinished = maker.make(Policy(bits=bits, further=ALL), finish=False)
    assert loss(maker, unfinished) < 1.5


def test_forms_of_other_layers_stay() -> None:
    maker = made()
    further = {"merge": {"body.expand": "merged"}, "form": {"a": "taps:1x3"}}
    found = shapes(maker.make(Policy(further=further)))
    assert found["a.weight"] == (8, 3, 1, 3)
    assert found["body.project.weight"] == (8, 8, 3, 3)


def test_its_file_has_the_one_layer() -> None:
    import onnx

    maker = made()
    model = maker.make(Policy(further=ALL))
    graph = onnx.load_from_string(onnx_bytes(model, SHAPE)).graph
    convolutions = [each for each in graph.node if each.op_type == "Conv"]
    assert len(convolutions) == 3
    assert {each.op_type for each in graph.node} <= {
        *("Conv", "Relu", "Add", "ReduceMean", "Gemm", "Constant", "GlobalAveragePool", "Flatten")
    }


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        (merge("body.expnd"), "merge of 'body.expnd': no such part (did you mean body.expand?)"),
        (merge("c"), "merge of 'c': no layer of its kind alone reads what it writes"),
        (merge("head"), "of this network 'a', 'b', 'body.expand' can"),
        (
            Policy(further={**ALL, "form": {"b": "rank-channel:first-2"}}),
            "merge of 'a' and form of 'b' cannot both be chosen",
        ),
        (Policy(further={"merge": {"a": "one"}}), "'one' is neither 'merged' nor 'dense'"),
    ],
)
def test_what_cannot_be_merged_is_refused(policy: Policy, says: str) -> None:
    maker = made()
    with pytest.raises(SpaceError, match=re.escape(says)):
        maker.make(policy)


def test_merges_in_blocks_that_are_left_out_mean_nothing() -> None:
    maker = made()
    without = Policy(removed=frozenset({"body"}))
    both = Policy(removed=frozenset({"body"}), further={"merge": {"body.expand": "merged"}})
    images = maker.images[:4]
    with torch.no_grad():
        found: Tensor = maker.make(both)(images)
        assert torch.equal(found, maker.make(without)(images))


def test_the_same_policy_gives_the_same_weights() -> None:
    first, second = (made().make(Policy(further=ALL)) for _ in range(2))
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
