"""A running average of a network's weights, and of its norms' statistics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

import torch
from torch import nn

from automl.network import re_estimate_norms

Tensor = torch.Tensor
#: Inputs that norms take their statistics of anew.
RESTATED: Final = 1000


class Averages:
    """Exponential averages of all floats of a state dict; other values are the last ones.

    The decay begins low and rises to its value, so that the first weights are soon forgotten.

    Args:
        model: Whose weights.
        decay: What stays of the average at a step, once that has risen: below 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay, self._steps = decay, 0
        self._values = {name: each.detach().clone() for name, each in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights as they are."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        for name, each in model.state_dict().items():
            if each.is_floating_point():
                self._values[name].lerp_(each, 1 - decay)
            else:
                self._values[name].copy_(each)

    def state(self) -> dict[str, object]:
        """All that it is."""
        return {"steps": self._steps, "values": self._values}

    def restore(self, steps: int, values: dict[str, Tensor]) -> None:
        """Become what `state` said."""
        self._steps = steps
        for name, each in values.items():
            self._values[name].copy_(each)

    @property
    def values(self) -> dict[str, Tensor]:
        """The averages, as a state dict."""
        return self._values


def restate_norms(model: nn.Module, batches: Iterable[Tensor], fewest: int) -> None:
    """Statistics of batch norms on weights as they are now, in place; running ones lag behind.

    Of the first `RESTATED` inputs; nothing is done without norms or batches that are large enough.

    Args:
        model: In evaluation mode afterwards.
        batches: Inputs, [images, ...] each.
        fewest: Inputs of a batch that has statistics worth the name.
    """
    kinds = nn.modules.batchnorm._BatchNorm
    if not any(isinstance(module, kinds) for module in model.modules()):
        return

    def large() -> Iterator[Tensor]:
        left = RESTATED
        for inputs in batches:
            if len(inputs) >= fewest:
                yield inputs
            left -= len(inputs)
            if left <= 0:
                return

    found = large()
    first = next(found, None)
    if first is not None:
        re_estimate_norms(model, chain((first,), found))
