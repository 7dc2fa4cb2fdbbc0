"""Weights that are zero or a power of two."""

from __future__ import annotations

import torch

from automl.compression import Codebook
from automl.policy import Bits, is_float
from automl.recovery.base import GivenWeights, WeightRounding
from automl.recovery.quantizers.fitting import error_of, nearest_among
from automl.recovery.quantizers.lsq import LearnedSteps
from automl.recovery.quantizers.steps import book_of, straight

Tensor = torch.Tensor
#: How many powers next to the largest weight are tried as the largest of the layer.
_LOWER = 4


class PowersOfTwo(LearnedSteps):
    """Powers of Zhou et al. 2017 (INQ, section 2.1), trained as in Elhoushi et al. 2019, DeepShift.

    With b bits a weight is zero or one of 2^(b-2) powers of two of either sign, down from the one
    next to the layer's largest weight at the start, or a lower one where that leaves less error; it
    takes the nearest, and gradients go straight through. Differs: training begins on the powers
    that second-order rounding finds, the paper's largest power among four; DeepShift trains
    exponents, or rounds them; here the nearest number is taken. Weights are not frozen share by
    share, which is a hook's. As integers the powers would need more bits than the policy has:
    layers with rounded activations are refused.
    """

    def refusal(self, bits: Bits) -> str:
        """Layers of other bits than 3 to 8 of weights alone."""
        fits = 3 <= bits.weights <= 8 and is_float(bits)
        return "" if fits else "powers of two are 3 to 8 bits of weights alone: w4"

    def weights(self, given: GivenWeights) -> WeightRounding:
        """Zero and powers of two."""
        return Powers(given)


class Powers(WeightRounding):
    """The nearest of zero and some powers of two."""

    def __init__(self, given: GivenWeights) -> None:
        super().__init__(given.seed)
        self._bits = given.bits.weights
        largest = given.wanted.abs().max().double().clamp_min(1e-30)
        top = (largest * 4 / 3).log2().floor().clamp(-100, 100)
        tried = [self._on(given, top - lower) for lower in range(_LOWER)]
        self._entries: Tensor
        _, entries, self._first = min(tried, key=lambda each: each[0])
        self.register_buffer("_entries", entries)

    def _on(self, given: GivenWeights, top: Tensor) -> tuple[float, Tensor, Tensor]:
        """Error, entries and weights with a largest power."""
        powers = 2.0 ** (top - torch.arange(1 << (self._bits - 2)))
        powers = powers[powers >= 2.0**-126]
        zero = torch.zeros(1, dtype=torch.float64)
        entries = torch.cat([-powers, zero, powers.flip(0)]).float()
        grids = entries.expand(*given.wanted.shape[:2], -1).contiguous()
        found = nearest_among(given, grids)
        return error_of(given, found), entries, found

    def begin(self, given: GivenWeights) -> Tensor:
        """Powers of least error."""
        return self._first

    def forward(self, weights: Tensor) -> Tensor:
        """The nearest; gradients go straight through."""
        middles = (self._entries[1:] + self._entries[:-1]) / 2
        return straight(weights, self._entries[torch.bucketize(weights.detach(), middles)])

    def frozen(self, weights: Tensor) -> tuple[Tensor, Codebook]:
        """The powers, and who has which."""
        middles = (self._entries[1:] + self._entries[:-1]) / 2
        rounded = self._entries[torch.bucketize(weights.to(self._entries), middles)]
        book = book_of(rounded, self._entries, self._bits)
        return book.values(), book
