"""Iterative hard thresholding: few weights learn, then all, then few again."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from automl.recovery.base import HookPlan, Moment
from automl.recovery.channels import checked_share
from automl.recovery.layer_weights import (
    FoldedWeights,
    largest,
    masked,
    planned_weights,
    told_zeros,
)
from automl.recovery.level_sets import checked_bits
from automl.recovery.watching import WatchingHook

Tensor = torch.Tensor


class HardThresholding(WatchingHook):
    """Keep the largest weights, train these, set all free, train all, and again (Jin et al., 2016).

    Differs: the phases are of equal length; the last is one of few weights; magnitudes are those
    with norms folded.

    Args:
        share: Of each layer's weights that are zero while few learn.
        rounds: How often all are set free.
    """

    leaves = "weights"

    def __init__(self, share: float = 0.5, rounds: int = 2) -> None:
        super().__init__()
        self._share = checked_share("share of iht", share)
        self._rounds = checked_bits("rounds of iht", rounds, 1, 1000)
        self._weights: dict[str, nn.Parameter] = {}
        self._folded: FoldedWeights | None = None
        self._kept: dict[str, Tensor] = {}
        self._phase = -1

    def start(self, model: nn.Module, plan: HookPlan) -> None:
        """See which weights there are; what is zero in a phase has no gradient in it."""
        self._weights = planned_weights("iht", model, plan)
        self._folded = FoldedWeights(model, plan.inputs)
        self.watch_gradients(self._weights, self._learning)

    def before_batch(self, model: nn.Module, moment: Moment) -> None:
        """Begin the next phase where it is time: an even one with the largest weights alone."""
        phase = min(int(moment.share * (2 * self._rounds + 1)), 2 * self._rounds)
        if phase != self._phase:
            self._phase = phase
            self._kept = {} if phase % 2 else self._largest()
            masked(self._weights, self._kept)

    def after_step(self, model: nn.Module, moment: Moment) -> None:
        """What is zero in this phase stays so."""
        masked(self._weights, self._kept)

    def finish(self, model: nn.Module) -> str:
        """Leave the largest."""
        masked(self._weights, self._kept or self._largest())
        return told_zeros("iht", self._weights)

    def state(self) -> dict[str, Any]:
        """The phase and its mask."""
        return {"phase": self._phase, "kept": self._kept}

    def restore(self, state: dict[str, Any]) -> None:
        """Become what `state` said."""
        self._phase, self._kept = state["phase"], state["kept"]

    def _learning(self, name: str, gradient: Tensor) -> Tensor | None:
        kept = self._kept.get(name)
        return None if kept is None else gradient * kept.to(gradient.device)

    def _largest(self) -> dict[str, Tensor]:
        folded = self._folded
        assert folded is not None
        return {
            name: largest(folded(name, each), self._share) for name, each in self._weights.items()
        }
