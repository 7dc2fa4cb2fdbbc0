"""meProp: the largest gradients alone go backwards."""

from __future__ import annotations

import math

import torch
from torch import nn

from automl.recovery.base import HookPlan
from automl.recovery.channels import checked_share
from automl.recovery.layer_weights import refuse_integers
from automl.recovery.watching import WatchingHook

Tensor = torch.Tensor


class MeProp(WatchingHook):
    """Of what each layer's output is told back, an image's largest numbers stay (Sun et al., 2017).

    Nothing is saved here: products with zeros are computed. Differs: a share in place of a count.

    Args:
        share: Of the numbers that stay.
    """

    acts_on = "outputs"

    def __init__(self, share: float = 0.1) -> None:
        super().__init__()
        self._share = checked_share("share of meprop", share, whole=True)

    def start(self, model: nn.Module, plan: HookPlan) -> None:
        """Watch the outputs of all layers."""
        refuse_integers("meprop", model)
        self.watch_outputs(model, self._sparse)

    def _sparse(self, gradient: Tensor) -> Tensor:
        """The same with zeros: [images, ...]."""
        rows = gradient.flatten(1)
        count = max(1, math.ceil(rows.shape[1] * self._share))
        at = rows.abs().topk(count, dim=1).indices
        return torch.zeros_like(rows).scatter(1, at, rows.gather(1, at)).view_as(gradient)
