"""Proximal steps: penalties of groups of weights that make them exactly zero."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
from torch import nn

from automl.errors import UsageError
from automl.recovery.base import Hook, HookPlan, Moment
from automl.recovery.layer_weights import (
    STRUCTURES,
    group_lengths,
    has_norms,
    listed,
    norm_scales,
    planned_weights,
)

Tensor = torch.Tensor
_OF: Final = (*STRUCTURES, "weights", "gamma")


class Proximal(Hook):
    """Forward-backward splitting of a sparsity penalty (Zhou, Alvarez and Porikli, 2016).

    The gradient step is that of the losses; after it each group is made shorter by the learning
    rate times the strength (times the root of how many numbers it has), and is zero where it is
    shorter than that. Differs: no tensor norms beside.

    Args:
        of: What groups are: "filter", "channel", "shape", "depth" of layers' weights; "weights",
            each by itself; "gamma", each scale of a batch norm.
        strength: Of the penalty.
    """

    leaves = "channels"

    def __init__(self, of: str = "channel", strength: float = 0.01) -> None:
        if of not in _OF:
            raise UsageError(f"of of prox is one of {', '.join(_OF)}, found {of!r}")
        if not strength > 0:
            raise UsageError(f"strength of prox is a number above 0, found {strength}")
        self._of, self._strength = of, float(strength)
        self._weights: dict[str, nn.Parameter] = {}

    def start(self, model: nn.Module, plan: HookPlan) -> None:
        """See that there are such groups."""
        if self._of != "gamma":
            self._weights = planned_weights("prox", model, plan)
        elif plan.made and not has_norms(model):
            raise UsageError(
                "prox of=gamma makes scales of batch norms smaller, and layers that are made of few"
                f" numbers by their forms ({listed(plan.made)}) have theirs folded"
            )
        else:
            self._weights = norm_scales(model)
        if not any(True for _ in self._groups()):
            raise UsageError(f"no layer of the network has groups of {self._of}")

    @torch.no_grad()
    def after_step(self, model: nn.Module, moment: Moment) -> None:
        """Shorten all groups."""
        for values, lengths, numbers in self._groups():
            most = moment.rate * self._strength * numbers**0.5
            values.mul_((1 - most / lengths.clamp_min(1e-30)).clamp_min(0))

    def finish(self, model: nn.Module) -> str:
        """Say how many are zero."""
        zeros = of = 0
        for _, lengths, _ in self._groups():
            zeros += int((lengths == 0).sum())
            of += lengths.numel()
        return f"prox: {zeros:,} of {of:,} groups of {self._of} are zero"

    def _groups(self) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Weights, the lengths of their groups, and how many numbers a group has."""
        structure = "weights" if self._of == "gamma" else self._of
        for weight in self._weights.values():
            found = group_lengths(weight.detach(), structure)
            if found is not None:
                yield weight.detach(), *found
