"""Rounded weights of exactly what stays: (channels x bits) held jointly."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from compressed import images_for, outputs_of, random_policy, read
from small import MAP, Plain, seeded
from torch import Tensor

from automl.compression.compressor import Compressor
from automl.compression.database import read_patch
from automl.compression.layer_matrix import matrix
from automl.compression.quantization import joint_database
from automl.compression.quantization.qparams import QParams
from automl.compression.quantization.rounding import output_error
from automl.compression.quantization.second_order import SecondOrder
from automl.compression.quantization.simulation import SCHEMES, QuantizedModel
from automl.network.precision import Flow
from automl.network.traced_model import trace_network
from automl.policy.policy import Bits, Policy


def interacting() -> Compressor:
    """`second` reads channels that say nearly the same: each can compensate for others."""
    model: Any = seeded(Plain)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        model.first.weight[4:] = model.first.weight[:4]
        model.first.bias[4:] = model.first.bias[:4]
        model.first.weight += 0.1 * torch.randn(8, 3, 3, 3, generator=generator)
    traced = trace_network(model, MAP, resolutions=())
    return Compressor(traced, images_for(MAP, 64), {"first": (5, 8)}, scheme="qdq-u8s8")


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_joint_beats_rounding_first_and_cutting_afterwards(bits: int) -> None:
    made, policy, chosen = interacting(), Policy({"first": 5}), Bits(bits, 8)
    dense, _ = read_patch(made.traced.model.get_submodule("second"))
    moments = made.features(0).moments["second"]
    mean = moments.total / moments.rows
    kept = made.database.kept(policy)["first"]
    stays = torch.zeros(8, dtype=torch.bool).index_fill(0, kept, True).repeat_interleave(9)

    def error(values: Tensor) -> float:
        return float(output_error(dense, values, mean).sum())

    joint = torch.zeros_like(dense)
    joint[:, :, stays] = made.joint.rounded("second", policy, chosen).values
    eliminated, _ = made.database.patches(policy)["second"]
    alternatives = []
    for weights in (dense, eliminated):
        rounded, _ = SecondOrder().round(weights, mean, chosen)
        rounded[:, :, ~stays] = 0.0  # corrections that these columns carried go with them
        alternatives.append(error(rounded))
    rounded_first, cut_first = alternatives
    assert error(joint) < 0.75 * rounded_first
    assert error(joint) < 1.01 * cut_first  # there zeros stay zero, and nothing is carried
    assert error(joint) > error(eliminated)


def test_errors_are_those_of_the_columns_that_stay() -> None:
    made, policy = interacting(), Policy({"first": 5})
    found = made.joint.rounded("second", policy, Bits(3, 8))
    second = made.database.candidate(policy).get_submodule("second")
    features = Compressor(made.traced, made.images, {}).features(0)
    moments, kept = features.moments["second"], made.database.kept(policy)["first"]
    columns = [9 * int(channel) + place for channel in kept for place in range(9)] + [72]
    mean = (moments.total / moments.rows)[:, columns][:, :, columns]
    expected = float(output_error(matrix(second), found.values, mean).sum())
    assert found.loss.error == pytest.approx(expected, rel=1e-4)
    assert found.loss.gain == pytest.approx(float(found.values.square().sum()))


def test_rounded_weights_are_made_once_for_all_integer_activations() -> None:
    joint = interacting().joint
    one = joint.rounded("second", Policy({"first": 5}), Bits(3, 8))
    assert joint.rounded("second", Policy({"first": 5}), Bits(3, 4)) is one
    assert joint.rounded("second", Policy({"first": 5}), Bits(3, 32)) is not one
    assert joint.rounded("second", Policy(), Bits(3, 8)) is not one
    assert joint.groups_read("second") == ("first",)


def test_what_rounding_does_is_known_when_the_weights_are_let_go_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(joint_database, "_KEPT_BYTES", 1)
    joint = interacting().joint
    first = joint.rounded("second", Policy({"first": 5}), Bits(3, 8))
    joint.rounded("second", Policy(), Bits(3, 8))
    assert joint.loss("second", Policy({"first": 5}), Bits(3, 8)) is first.loss
    again = joint.rounded("second", Policy({"first": 5}), Bits(3, 8))
    assert again is not first
    assert torch.equal(again.values, first.values)


@pytest.mark.parametrize("scheme", [None, "qdq-s8s8-residual"])
@pytest.mark.parametrize("name", ["inverted", "grouped", "dense", "shuffle v2", "linears"])
def test_candidates_are_cut_and_rounded_and_hardly_changed(name: str, scheme: str | None) -> None:
    assert scheme in SCHEMES
    traced = read(name)
    counts = {
        group.name: tuple(range(group.partition, group.channels + 1, group.partition))
        for group in traced.network.groups
    }
    made = Compressor(traced, images_for(traced.network.input_shape, 16), counts, scheme=scheme)
    policy = Policy(random_policy(traced, 3).channels)
    bits = dict.fromkeys(Flow(traced.trace).layers, Bits(8, 8))
    found = made.make(Policy(policy.channels, bits=bits), finish=False)
    assert isinstance(found, QuantizedModel)
    plain = made.make(policy, finish=False)
    for layer in bits:
        module, qparams = found.network.get_submodule(layer), found.weights[layer]
        assert isinstance(qparams, QParams)
        weights = matrix(module)
        assert torch.equal((weights / qparams.scale).round() * qparams.scale, weights)
        assert weights.shape == matrix(plain.get_submodule(layer)).shape
    before, after = outputs_of(plain, made.images), outputs_of(found, made.images)
    assert float((before - after).square().mean() / before.var()) < 2e-3


def test_a_codebook_layer_is_cut_with_its_indices() -> None:
    made = interacting()
    policy = Policy({"first": 5}, bits={"first": Bits(2, 32), "second": Bits(3, 32)})
    found = made.make(policy, finish=False)
    assert isinstance(found, QuantizedModel)
    for layer in ("first", "second"):
        book: Any = found.weights[layer]
        assert torch.equal(book.values(), matrix(found.network.get_submodule(layer)))
    assert not found.qparams
