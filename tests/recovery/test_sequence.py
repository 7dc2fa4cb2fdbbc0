"""Training begins at the post-training network, whatever values a quantizer has."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import nn

from automl.compression import CompressionConfig, Compressor, QuantizedModel
from automl.network import TracedModel, trace_network
from automl.policy import Bits, Policy
from automl.recovery import TRAINED_QUANTIZERS, QuantizedStudent
from automl.testing.networks import SHAPE, compressor_of, drawn, loss, made_images, made_network

BITS = (Bits(4, 4), Bits(2, 4), Bits(1, 4), Bits(3, 32), Bits(2, 32), Bits(1, 32))
CASES = [
    (name, bits)
    for name in TRAINED_QUANTIZERS.ours
    for bits in BITS
    if not TRAINED_QUANTIZERS.build(name).refusal(bits)
]
#: How much more a start's logits may be off than those of the post-training network, in shares of
#: the dense logits' variance. Of chance all are.
NEAR = 0.2


class Normed(nn.Sequential):
    """Each convolution is behind a batch norm, as networks of one bit have it."""

    def __init__(self) -> None:
        layers = [
            (nn.Conv2d(read, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
            for read in (3, 16, 16)
        ]
        ends = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5))
        super().__init__(*(each for group in layers for each in group), *ends)


def normed() -> TracedModel:
    network = drawn(Normed, 0)
    with torch.no_grad():
        for _ in range(50):  # statistics of its own
            network(made_images(64, seed=7))
    return trace_network(network.eval(), SHAPE, resolutions=())


@cache
def made(bits: Bits, *, norms: bool = False) -> tuple[Compressor, QuantizedModel]:
    """A network rounded without training, all layers alike."""
    traced = normed() if norms else made_network()
    compressor = compressor_of(traced, CompressionConfig())
    model = compressor.make(Policy(bits=dict.fromkeys(compressor.joint.flow.layers, bits)))
    assert isinstance(model, QuantizedModel)
    return compressor, model


def begun(name: str, bits: Bits, *, norms: bool = False) -> QuantizedStudent:
    compressor, model = made(bits, norms=norms)
    quantizer, dense = TRAINED_QUANTIZERS.build(name), compressor.traced.model
    return QuantizedStudent(model, quantizer, [made_images()], dense=dense)


def test_every_quantizer_is_tried() -> None:
    assert {name for name, _ in CASES} == set(TRAINED_QUANTIZERS.ours)


@pytest.mark.parametrize(("name", "bits"), CASES, ids=str)
def test_training_begins_near_the_post_training_network(name: str, bits: Bits) -> None:
    compressor, model = made(bits)
    assert loss(compressor, begun(name, bits).frozen()) < loss(compressor, model) + NEAR


@pytest.mark.parametrize(
    ("name", "bits"), [case for case in CASES if case[1].activations == 32], ids=str
)
def test_so_it_does_where_norms_are_put_back(name: str, bits: Bits) -> None:
    compressor, model = made(bits, norms=True)
    found = loss(compressor, begun(name, bits, norms=True).frozen())
    assert found < loss(compressor, model) + 2 * NEAR


@pytest.mark.parametrize(("name", "bits"), [("ttq", BITS[4]), ("pow2", BITS[3]), ("pact", BITS[1])])
def test_biases_take_out_what_other_values_change_on_average(name: str, bits: Bits) -> None:
    """Of the last layer: the rows that it is solved on are all that there are."""
    model, student, images = made(bits)[1], begun(name, bits), made_images()
    wanted, found = model(images), student(images).detach()
    assert not torch.equal(found, wanted)
    torch.testing.assert_close(found.mean(0), wanted.mean(0), atol=1e-4, rtol=1e-4)


def test_some_inputs_are_enough_and_their_order_is_kept() -> None:
    bits = Bits(2, 32)
    model = made(bits)[1]
    quantizer, images = TRAINED_QUANTIZERS.build("ttq"), made_images(48)
    one = QuantizedStudent(model, quantizer, [images])(images)
    several = QuantizedStudent(model, quantizer, [*images.split(10)])(images)
    torch.testing.assert_close(one, several)
