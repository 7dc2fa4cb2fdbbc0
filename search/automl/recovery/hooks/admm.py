"""ADMM: the loss and a set of few values or few weights, brought together by dual updates."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import nn

from automl.errors import UsageError
from automl.recovery.base import HookPlan, Moment
from automl.recovery.channels import checked_share
from automl.recovery.layer_weights import (
    FoldedWeights,
    largest,
    masked,
    planned_weights,
    told_zeros,
)
from automl.recovery.level_sets import checked_bits, powers_of_two, ternary
from automl.recovery.watching import WatchingHook

Tensor = torch.Tensor
_TO: Final = ("zeros", "pow2", "ternary")


class Admm(WatchingHook):
    """Alternating directions (Leng et al., 2018; of masks Zhang et al., 2018).

    Weights learn from the loss and from rho times their distance to the set's member shifted by the
    dual; every some steps the member is chosen anew and the dual takes up the distance. Differs:
    plain steps, no extragradient; which weights are zeros goes by magnitudes with norms folded, and
    they are fixed in the last part of the training.

    Args:
        to: "zeros" (a share of each layer's weights), "pow2" (zero and powers of two of `bits`),
            "ternary".
        share: Of the weights that become zero.
        bits: Of powers of two.
        rho: Of the penalty. Too small, and weights do not follow to their members between two
            updates; far beyond 1, and the momentum carries them past.
        every: Steps from one update of the dual to the next.
        hard: Share of the training, its last, in which what is zero stays so.
    """

    leaves = "weights"

    def __init__(
        self,
        to: str = "zeros",
        share: float = 0.5,
        bits: int = 4,
        rho: float = 3.0,
        every: int = 8,
        hard: float = 0.3,
    ) -> None:
        super().__init__()
        if to not in _TO:
            raise UsageError(f"to of admm is one of {', '.join(_TO)}, found {to!r}")
        if not rho > 0:
            raise UsageError(f"rho of admm is a number above 0, found {rho}")
        self._to, self._rho = to, float(rho)
        self._share = checked_share("share of admm", share)
        self._bits = checked_bits("bits of admm", bits, 3, 8)
        self._every = checked_bits("every of admm", every, 1, 10**6)
        self._hard = checked_share("hard of admm", hard)
        self._weights: dict[str, nn.Parameter] = {}
        self._folded: FoldedWeights | None = None
        self._members: dict[str, Tensor] = {}
        self._duals: dict[str, Tensor] = {}
        self._kept: dict[str, Tensor] = {}
        self._residuals: list[float] = []

    def start(self, model: nn.Module, plan: HookPlan) -> None:
        """Members nearest to the weights; no dual yet."""
        self._weights = planned_weights("admm", model, plan)
        self._folded = FoldedWeights(model, plan.inputs)
        self._duals = {name: torch.zeros_like(each) for name, each in self._weights.items()}
        self._members = {name: self._nearest(name, each) for name, each in self._weights.items()}
        self._residuals = [self._residual()]
        self.watch_gradients(self._weights, self._learning)

    def before_batch(self, model: nn.Module, moment: Moment) -> None:
        """Fix zeros when the last part begins."""
        if self._to == "zeros" and not self._kept and moment.share >= 1 - self._hard:
            self._kept = {name: self._largest(name, each) for name, each in self._weights.items()}
            masked(self._weights, self._kept)

    @torch.no_grad()
    def before_step(self, model: nn.Module, moment: Moment) -> None:
        """Add the penalty's gradient, until zeros are fixed."""
        if self._kept:
            return
        for name, weight in self._weights.items():
            if weight.grad is not None:
                gap = weight - self._members[name].to(weight) + self._duals[name].to(weight)
                weight.grad.add_(gap, alpha=self._rho)

    @torch.no_grad()
    def after_step(self, model: nn.Module, moment: Moment) -> None:
        """Choose members anew and take up what is between, every some steps."""
        if self._kept:
            masked(self._weights, self._kept)
        elif (moment.step + 1) % self._every == 0:
            for name, weight in self._weights.items():
                dual = self._duals[name].to(weight)
                self._members[name] = self._nearest(name, weight + dual)
                self._duals[name] = dual + weight - self._members[name]
            self._residuals.append(self._residual())

    @torch.no_grad()
    def finish(self, model: nn.Module) -> str:
        """Leave members of the set."""
        kept = self._kept
        last = self._residual() if not kept else self._residuals[-1]
        for name, weight in self._weights.items():
            weight.copy_(weight * kept[name].to(weight) if kept else self._nearest(name, weight))
        told = f"{self._residuals[0]:.3g} of the weights away from the set first, {last:.3g} last"
        if self._to == "zeros":
            return f"{told_zeros('admm', self._weights)}; {told}"
        return f"admm: all weights are of the set {self._to}; {told}"

    def state(self) -> dict[str, Any]:
        """Members, duals, and how far the weights were."""
        return {
            "members": self._members,
            "duals": self._duals,
            "kept": self._kept,
            "residuals": self._residuals,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Become what `state` said."""
        self._members, self._duals = state["members"], state["duals"]
        self._kept, self._residuals = state["kept"], state["residuals"]

    @property
    def residuals(self) -> tuple[float, ...]:
        """How far weights were from their members at each update, relative to their length."""
        return tuple(self._residuals)

    def _learning(self, name: str, gradient: Tensor) -> Tensor | None:
        """None of what is fixed at zero."""
        kept = self._kept.get(name)
        return None if kept is None else gradient * kept.to(gradient.device)

    def _largest(self, name: str, values: Tensor) -> Tensor:
        assert self._folded is not None
        return largest(self._folded(name, values), self._share)

    def _nearest(self, name: str, values: Tensor) -> Tensor:
        values = values.detach()
        if self._to == "zeros":
            return values * self._largest(name, values)
        return powers_of_two(values, self._bits) if self._to == "pow2" else ternary(values)

    def _residual(self) -> float:
        squares = sum(
            float((weight.detach() - self._nearest(name, weight)).square().sum())
            for name, weight in self._weights.items()
        )
        whole = sum(float(weight.detach().square().sum()) for weight in self._weights.values())
        return float((squares / max(whole, 1e-30)) ** 0.5)
