"""DropConnect: a random part of the weights is left out in each step."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from automl.recovery.base import HookPlan, Moment
from automl.recovery.channels import checked_share
from automl.recovery.layer_weights import Exchanged, planned_weights
from automl.recovery.watching import WatchingHook

Tensor = torch.Tensor


class DropConnect(WatchingHook):
    """Weights dropped at random in training alone (Wan et al., 2013).

    Those that stay are multiplied by 1 / (1 - p), so that a layer writes in the mean what it writes
    without. Differs: one mask for a batch, not one for each image; all layers have it.

    Args:
        share: Of the weights that are left out of a step.
    """

    def __init__(self, share: float = 0.1) -> None:
        super().__init__()
        self._share = checked_share("share of dropconnect", share)
        self._weights: dict[str, nn.Parameter] = {}
        self._factors: dict[str, Tensor] = {}
        self._generator, self._whole = torch.Generator(), Exchanged()

    def start(self, model: nn.Module, plan: HookPlan) -> None:
        """Seed; those that are left out learn nothing in a step."""
        self._weights = planned_weights("dropconnect", model, plan)
        self._generator.manual_seed(plan.seed)
        self.watch_gradients(self._weights, self._learning)

    def before_batch(self, model: nn.Module, moment: Moment) -> None:
        """Leave some out."""
        for name, each in self._weights.items():
            drawn = torch.rand(each.shape, generator=self._generator)
            self._factors[name] = (drawn >= self._share).to(each) / (1 - self._share)
        changed = {
            name: each.detach() * self._factors[name] for name, each in self._weights.items()
        }
        self._whole.put(self._weights, changed)

    def before_step(self, model: nn.Module, moment: Moment) -> None:
        """All weights are there again."""
        self._whole.back(self._weights)

    def finish(self, model: nn.Module) -> str:
        """All weights are there."""
        self._whole.forget()
        return ""

    def detach(self, model: nn.Module) -> None:
        """Put back what a batch that failed has left; watch no longer."""
        super().detach(model)
        self._whole.back(self._weights)

    def state(self) -> dict[str, Any]:
        """Of the generator."""
        return {"generator": self._generator.get_state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Become what `state` said."""
        self._generator.set_state(state["generator"])

    def _learning(self, name: str, gradient: Tensor) -> Tensor | None:
        """As through the product: a batch that was shown to all weights has all of it."""
        factors = self._factors.get(name)
        return None if factors is None else gradient * factors.to(gradient)
