"""What every quantizer has to hold to; see `automl.testing`."""

from __future__ import annotations

from typing import ClassVar

import torch

from automl.compression import (
    QUANTIZERS,
    Codebook,
    CompressionConfig,
    QParams,
    QuantizedModel,
    Quantizer,
)
from automl.policy import Bits, Policy
from automl.testing.networks import loss, made_compressor

Tensor = torch.Tensor


class QuantizerContract:
    """Six promises. Inherit it, and override what differs.

    Attributes:
        name: The quantizer's, as it is asked for, with options where it needs some.
        bits: Of weights, which it can round to, ascending.
    """

    name: ClassVar[str]
    bits: ClassVar[tuple[int, ...]] = (2, 4, 8)

    def make(self) -> Quantizer:
        """The quantizer."""
        return QUANTIZERS.build(self.name)

    def test_integers_stand_on_a_grid_of_their_bits(self) -> None:
        """A scale an output, symmetric; as fine where it takes less time."""
        weights, moments = _drawn(seed=0)
        for width in self.bits:
            for refine in (True, False):
                found = self.make().round(weights, moments, Bits(width, 8), refine=refine)
                values, store = found
                assert values.shape == weights.shape
                assert isinstance(store, QParams)
                assert store.bits == width
                steps = values / torch.where(store.scale > 0, store.scale, torch.ones(()))
                assert torch.allclose(steps, steps.round(), atol=1e-3)
                assert steps.abs().max() <= 1 << (width - 1)

    def test_weights_alone_stand_in_a_codebook(self) -> None:
        """Of no more entries than the bits can tell apart."""
        weights, moments = _drawn(seed=1)
        for width in self.bits:
            values, store = self.make().round(weights, moments, Bits(width, 32))
            assert isinstance(store, Codebook)
            assert torch.equal(store.values(), values)
            assert len(values.unique()) <= 1 << width

    def test_more_bits_lose_less(self) -> None:
        """Of the outputs, on the inputs that the moments are of."""
        weights, moments = _drawn(seed=2)
        for activations in (8, 32):
            losses = []
            for width in self.bits:
                values, _ = self.make().round(weights, moments, Bits(width, activations))
                gap = (values - weights).double()
                losses.append(float(((gap @ moments[:, :-1, :-1]) * gap).sum()))
            assert losses == sorted(losses, reverse=True)

    def test_the_same_weights_give_the_same_and_stay_as_they_are(self) -> None:
        """Twice by one quantizer, and by another instance."""
        weights, moments = _drawn(seed=3)
        before, quantizer = (weights.clone(), moments.clone()), self.make()
        for activations in (8, 32):
            bits = Bits(self.bits[0], activations)
            makers = (quantizer, quantizer, self.make())
            found = [each.round(weights, moments, bits)[0] for each in makers]
            assert torch.equal(found[0], found[1])
            assert torch.equal(found[0], found[2])
        assert torch.equal(weights, before[0])
        assert torch.equal(moments, before[1])

    def test_an_output_that_reads_nothing_stays_finite(self) -> None:
        """Weights that are all zero."""
        weights, moments = _drawn(seed=4)
        weights[0, 0] = 0.0
        for activations in (8, 32):
            values, _ = self.make().round(weights, moments, Bits(self.bits[-1], activations))
            assert torch.isfinite(values).all()

    def test_a_network_is_rounded_with_it(self) -> None:
        """From the search's candidate to the finished network, with and without channels."""
        config = CompressionConfig(quantization=self.name)
        made = made_compressor(config, scheme="qdq-u8s8")
        bits = {name: Bits(self.bits[-1], 8) for name in ("inner", "outer", "last")}
        for policy in (Policy(bits=bits), Policy({"inner": 9}, bits=bits)):
            for finish in (False, True):
                model = made.make(policy, finish=finish)
                assert isinstance(model, QuantizedModel)
                assert set(model.weights) == set(bits)
                assert loss(made, model) < 1.0


def _drawn(seed: int) -> tuple[Tensor, Tensor]:
    """Weights [2, 5, 12], and second moments [2, 13, 13] of inputs that are alike."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(2, 12, 12, generator=generator) / 2 + torch.eye(12)
    rows = torch.randn(2, 200, 12, generator=generator) @ mixed + 0.3
    wide = torch.cat([rows, torch.ones(2, 200, 1)], 2).double()
    return torch.randn(2, 5, 12, generator=generator), wide.transpose(1, 2) @ wide / 200
