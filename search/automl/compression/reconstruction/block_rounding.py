"""Rounding learned block by block: each weight goes up or down as the block's outputs want it.

Second-order rounding looks at one layer at a time. At 4 bits and fewer what counts is what a whole
block makes of its layers' errors together, and that has no closed form: which weights had better be
rounded the other way is learned by gradients, towards the dense network's block on the same images.

Source: Li et al. 2021 (BRECQ), the block as the unit, each after those before it; Nagel et al. 2020
(AdaRound), up or down as what is learned; Wei et al. 2022 (QDrop), the rounding of activations that
is dropped at random where gradients are taken. Differs: it starts from what least squares and
second-order rounding find on the block's own inputs, which soft rounding does not reach in hundreds
of steps (docs/bits.md); so weights are not soft, but flipped one an output at a time, by gradient
and curvature, as long as the block's error falls. No labels and no Fisher weights: each output
counts alike. Biases follow the weights as their mean error says. A block whose outputs on images
held out are no nearer keeps the rounding that it had.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from automl.compression.quantization.activation_ranges import How
from automl.compression.quantization.base import Quantizer
from automl.compression.quantization.codebook import Codebook
from automl.compression.quantization.qparams import QParams
from automl.compression.quantization.simulation import QuantizedModel
from automl.compression.reconstruction.base import FULL_REFIT, Candidate, RefitSettings
from automl.compression.reconstruction.least_squares import LeastSquares
from automl.compression.reconstruction.refitting import Refitter
from automl.compression.reconstruction.rounding_block import (
    Before,
    Learning,
    RoundedLayer,
    learn,
)
from automl.compression.reconstruction.rounding_units import RoundingUnit, Watched, units_of
from automl.network import FLOAT_BITS
from automl.policy import Bits

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class BlockRounding:
    """Least squares and second-order rounding; each block's rounding is learned before the next.

    Layers of more bits, and those outside of blocks, keep theirs; so do all in candidates of a
    search, which there is no time for. What runs in a layer's place is rounded anew as layers are.

    Attributes:
        bits: Of weights that are rounded anew, at most.
        rounds: Of gradients, a block, at most.
        images: Of which so many are looked at, a fifth of them held out; fewer where a block's
            values take much memory.
        drop: Share of the activations that are not rounded where gradients are taken.
        seed: Of the images and the activations that are drawn.
    """

    bits: int = 4
    rounds: int = 20
    images: int = 256
    drop: float = 0.5
    seed: int = 0

    def finish(
        self, candidate: Candidate, quantizer: Quantizer, settings: RefitSettings = FULL_REFIT
    ) -> nn.Module:
        """As `Reconstruction.finish`: in place, rounded on the way where the plan has bits."""
        least_squares, plan = LeastSquares(), candidate.plan
        low = {
            name
            for name, bits in plan.bits.items()
            if 1 < bits.weights <= self.bits and bits.activations < FLOAT_BITS
        }
        places = {each.place for each in candidate.stand_ins.values()}
        units = units_of(candidate.trace, low, places) if settings.refine else []
        if not units:
            return least_squares.finish(candidate, quantizer, settings)
        recorder = _Recorder(quantizer)
        solve = least_squares.solving(candidate)
        watched = Watched(candidate, min(self.images, settings.images))
        done, weights = set[str](), dict[str, QParams | Codebook]()
        for place, unit in enumerate(units):
            refitter = Refitter(candidate, recorder, settings, solve, done=done, until=unit.name)
            refitter.calibrate()
            done, weights = refitter.finished, weights | refitter.weights
            model = QuantizedModel(candidate.model, plan, refitter.qparams, weights)
            self._learn(model, unit, watched, recorder)
            later = {name for each in units[place + 1 :] for name in each.layers}
            recorder.forget_but([weights[name] for name in later & weights.keys()])
        refitter = Refitter(candidate, recorder, settings, solve, done=done)
        refitter.calibrate()
        weights |= refitter.weights
        return QuantizedModel(candidate.model, plan, refitter.qparams, weights)

    def _learn(
        self, model: QuantizedModel, unit: RoundingUnit, watched: Watched, recorder: _Recorder
    ) -> None:
        values = watched.values(unit, model)
        if values is None:
            return
        layers = {
            name: recorder.layer(model.network.get_submodule(name), model.weights[name])
            for name in unit.layers
        }
        learn(model, unit.name, layers, values, Learning(self.rounds, self.drop, self.seed))


@dataclass(slots=True)
class _Recorder:
    """A quantizer that remembers what weights were before it rounded them."""

    inner: Quantizer
    seen: list[tuple[QParams | Codebook, Before]] = field(default_factory=list)

    @property
    def ranges(self) -> How:
        return self.inner.ranges

    @property
    def correct_bias(self) -> bool:
        return self.inner.correct_bias

    def round(
        self, weights: Tensor, moments: Tensor, bits: Bits, *, refine: bool = True
    ) -> tuple[Tensor, QParams | Codebook]:
        values, store = self.inner.round(weights, moments, bits, refine=refine)
        self.seen.append((store, Before(weights, moments, self.correct_bias)))
        return values, store

    def forget_but(self, stores: Sequence[QParams | Codebook]) -> None:
        """Let go of all weights and moments but those that were rounded to these."""
        self.seen = [each for each in self.seen if any(each[0] is store for store in stores)]

    def layer(self, module: nn.Module, store: QParams | Codebook) -> RoundedLayer:
        """A rounded layer, with what it was before."""
        assert isinstance(store, QParams)
        before = next(before for found, before in self.seen if found is store)
        return RoundedLayer(module, before, store)
