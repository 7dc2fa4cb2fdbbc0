"""Progressive freezing: the largest weights become powers of two and stay, the others make up."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import nn

from automl.recovery.base import HookPlan, Moment
from automl.recovery.layer_weights import FoldedWeights, planned_weights
from automl.recovery.level_sets import checked_bits, powers_of_two
from automl.recovery.watching import WatchingHook

Tensor = torch.Tensor
#: Shares of each layer's weights that are frozen, a quarter of the training each.
SHARES: Final = (0.5, 0.75, 0.875, 1.0)


class FreezeProgressive(WatchingHook):
    """Incremental Network Quantization (Zhou et al., 2017).

    In four parts of the training 50, 75, 87.5 and 100 % of each layer's weights, the largest first,
    are rounded to zero and powers of two and stay; the others go on learning. Differs: parts of
    equal length within one schedule of the rate; which are the largest goes by magnitudes with
    norms folded. Where norms are folded into a layer afterwards, what is delivered is such a power
    times one number a filter.

    Args:
        bits: Of the powers of two: 5 are zero, and eight sizes with a sign.
    """

    leaves = "weights"

    def __init__(self, bits: int = 5) -> None:
        super().__init__()
        self._bits = checked_bits("bits of freeze-progressive", bits, 3, 8)
        self._weights: dict[str, nn.Parameter] = {}
        self._folded: FoldedWeights | None = None
        self._frozen: dict[str, Tensor] = {}
        self._values: dict[str, Tensor] = {}
        self._part = -1

    def start(self, model: nn.Module, plan: HookPlan) -> None:
        """Nothing is frozen yet."""
        self._weights = planned_weights("freeze-progressive", model, plan)
        self._folded = FoldedWeights(model, plan.inputs)
        self._values = {name: each.detach().clone() for name, each in self._weights.items()}
        self._frozen = {
            name: torch.zeros_like(each, dtype=torch.bool) for name, each in self._weights.items()
        }
        self.watch_gradients(self._weights, self._thawed)

    def before_batch(self, model: nn.Module, moment: Moment) -> None:
        """Freeze some more where a part begins."""
        part = min(int(moment.share * len(SHARES)), len(SHARES) - 1)
        if part > self._part:
            self._part = part
            self._freeze(SHARES[part])

    def after_step(self, model: nn.Module, moment: Moment) -> None:
        """What is frozen has had no gradient, and nothing else moves it."""
        self._write()

    def finish(self, model: nn.Module) -> str:
        """Freeze what is left."""
        self._write()
        self._freeze(1.0)
        values = sum(len(each.detach().abs().unique()) for each in self._weights.values())
        return (
            f"freeze-progressive: all weights are zero or powers of two,"
            f" {values / len(self._weights):.1f} sizes a layer"
        )

    def state(self) -> dict[str, Any]:
        """What is frozen."""
        return {"part": self._part, "frozen": self._frozen, "values": self._values}

    def restore(self, state: dict[str, Any]) -> None:
        """Become what `state` said."""
        self._part = state["part"]
        self._frozen, self._values = state["frozen"], state["values"]

    def _thawed(self, name: str, gradient: Tensor) -> Tensor:
        """None of what is frozen."""
        return gradient.masked_fill(self._frozen[name].to(gradient.device), 0.0)

    def _freeze(self, share: float) -> None:
        """The largest that are free, until such a share of each layer is not."""
        assert self._folded is not None
        for name, weight in self._weights.items():
            frozen = self._frozen[name].to(weight.device)
            sizes = self._folded(name, weight).abs().masked_fill(frozen, torch.inf).flatten()
            order = sizes.argsort(descending=True, stable=True)
            now = torch.zeros_like(frozen).flatten()
            now[order[: round(share * len(order))]] = True
            now = now.view_as(frozen)
            new = now & ~frozen
            self._frozen[name] = now
            rounded = powers_of_two(weight.detach(), self._bits)
            self._values[name] = torch.where(new, rounded, self._values[name].to(weight.device))
        self._write()

    @torch.no_grad()
    def _write(self) -> None:
        for name, weight in self._weights.items():
            frozen, values = self._frozen[name].to(weight.device), self._values[name]
            weight.copy_(torch.where(frozen, values.to(weight.device), weight))
