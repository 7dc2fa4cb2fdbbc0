"""Quantised gradients: what goes backwards has few bits."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from automl.recovery.base import HookPlan
from automl.recovery.layer_weights import refuse_integers
from automl.recovery.level_sets import checked_bits
from automl.recovery.watching import WatchingHook

Tensor = torch.Tensor


class QuantizedGradients(WatchingHook):
    """Gradients of layers' outputs rounded to some bits, with noise (Zhou et al., DoReFa-Net).

    Equation 12: scaled by an image's largest, shifted by uniform noise of one step, rounded, and
    scaled back; the noise makes the mean right.

    Args:
        bits: Of each number.
    """

    acts_on = "outputs"

    def __init__(self, bits: int = 8) -> None:
        super().__init__()
        self._bits = checked_bits("bits of quantised-gradients", bits, 1, 16)
        self._generator = torch.Generator()

    def start(self, model: nn.Module, plan: HookPlan) -> None:
        """Watch the outputs of all layers."""
        refuse_integers("quantised-gradients", model)
        self._generator.manual_seed(plan.seed)
        self.watch_outputs(model, self._rounded)

    def state(self) -> dict[str, Any]:
        """Of the generator."""
        return {"generator": self._generator.get_state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Become what `state` said."""
        self._generator.set_state(state["generator"])

    def _rounded(self, gradient: Tensor) -> Tensor:
        """Of few bits: [images, ...]."""
        rows = gradient.flatten(1)
        most = rows.abs().amax(1, keepdim=True).clamp_min(1e-30)
        steps = 2**self._bits - 1
        noise = torch.rand(rows.shape, generator=self._generator).to(rows) - 0.5
        units = ((rows / (2 * most) + 0.5) * steps + noise).round().clamp(0, steps)
        found: Tensor = (units / steps - 0.5) * 2 * most
        return found.view_as(gradient)
