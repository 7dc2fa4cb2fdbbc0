"""Bits that fall while a network is trained: those of weights first, then those of activations."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from automl.errors import UsageError
from automl.recovery.base import ActivationRounding, Hook, HookPlan, Moment, WeightRounding
from automl.recovery.level_sets import checked_bits
from automl.recovery.quantizers.steps import LEAST, straight

Tensor = torch.Tensor
#: Bits of a float, and of what is rounded as the policy says.
_FLOAT, _OWN = 32, 0


class ProgressiveBits(Hook):
    """Two stages with falling bits (Zhuang et al., 2018, sections 3.1 and 3.2).

    First weights alone are rounded, to 8, 4 and then the policy's bits; then activations too, in
    the same steps. Each step begins with the weights of the one before. Scores, and what is
    delivered, are of the policy's bits throughout. Differs: all is one training with one schedule
    of the rate, in which the steps but the last share a part; the paper begins with the dense
    network, this with the post-training one, of which the first steps round less. The guidance by a
    dense network is a loss, `kd` or `hints`.

    Args:
        first: Bits that weights begin with, and activations in their turn; then half of them.
        share: Of the training, in which bits fall: above 0 and below 1.

    Raises:
        UsageError: The bits or the share are out of range.
    """

    acts_on = "bits"

    def __init__(self, first: int = 8, share: float = 0.5) -> None:
        if not 0 < share < 1:
            raise UsageError(f"the share of progressive-bits is between 0 and 1, found {share:g}")
        self._share = share
        first = checked_bits("first bits of progressive-bits", first, 3, 8)
        self._falling = [bits for bits in (first, first // 2) if bits > 2]
        self._stages: list[tuple[int, int]] = []
        self._stage = (_OWN, _OWN)
        self._handles: list[RemovableHandle] = []

    def start(self, model: nn.Module, plan: HookPlan) -> None:
        """Stand behind all that rounds.

        Raises:
            UsageError: No layer's weights are rounded from numbers of their own.
        """
        weights = [
            each
            for each in model.modules()
            if isinstance(each, WeightRounding) and each.reads_numbers
        ]
        activations = [each for each in model.modules() if isinstance(each, ActivationRounding)]
        if not weights:
            raise UsageError(
                "progressive-bits lowers the bits of weights that are rounded as they are trained,"
                " and none of this network are"
            )
        until = _FLOAT if activations else _OWN
        self._stages = [(bits, until) for bits in self._falling]
        if activations:
            self._stages += [(_OWN, bits) for bits in (_FLOAT, *self._falling)]
        self._handles = [
            *(each.register_forward_hook(self._weights) for each in weights),
            *(each.register_forward_hook(self._activations) for each in activations),
        ]

    def before_batch(self, model: nn.Module, moment: Moment) -> None:
        """Which bits there are now."""
        place = int(moment.share / self._share * len(self._stages))
        self._stage = self._stages[place] if place < len(self._stages) else (_OWN, _OWN)

    def finish(self, model: nn.Module) -> str:
        """What was done."""
        said = [
            "".join(f"{what}{bits}" for what, bits in zip("wa", stage, strict=True) if bits != _OWN)
            for stage in self._stages
        ]
        return f"progressive-bits: {', '.join(said)}, then the policy's bits"

    def detach(self, model: nn.Module) -> None:
        """Stand there no longer."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _weights(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
        """Numbers rounded to the bits of now, where these are more than the layer's own."""
        bits = self._stage[0]
        assert isinstance(module, WeightRounding)
        if not module.training or bits == _OWN:
            return None
        numbers = args[0]
        if module.frozen(numbers.detach())[1].bits >= bits:
            return None
        top = (1 << (bits - 1)) - 1
        step = (numbers.detach().abs().amax(2, keepdim=True) / top).clamp_min(LEAST)
        return straight(numbers, (numbers.detach() / step).round() * step)

    def _activations(
        self, module: nn.Module, args: tuple[Any, ...], output: Tensor
    ) -> Tensor | None:
        """Values on finer integers of the same range, where the bits of now are more."""
        bits = self._stage[1]
        assert isinstance(module, ActivationRounding)
        if not module.training or bits == _OWN:
            return None
        known, values = module.frozen(), cast(Tensor, args[0])
        span = known.high - known.low
        if bits == _FLOAT:
            return values.clone()
        if span >= (1 << bits) - 1:
            return None
        low, high = ((end - known.zero_point) * known.scale for end in (known.low, known.high))
        step = known.scale * span / ((1 << bits) - 1)
        inside = values.clamp(low, high)
        return straight(inside, ((inside.detach() - low) / step).round() * step + low)
