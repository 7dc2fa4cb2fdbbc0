"""DCP: channels come back by how much a loss wants them that tells classes apart behind readers.

Source: Zhuang et al., Discrimination-aware Channel Pruning, 2018. Each reader of a channel has a
classifier behind it, and starts with no channels at all. Those come back whose weights have the
largest gradient of a joint loss: the error of the reader's outputs, and the classifier's cross
entropy. Differs: every reader has a classifier, there a few layers; it is fitted to the dense
network's pooled outputs and then stays; several channels come back at once, and the weights of
those that are back are the dense ones, not tuned in between. No such loss is trained with after.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from automl.compression.importance.base import Importance
from automl.compression.importance.channel_statistics import ChannelStatistics
from automl.compression.importance.elimination import Reader
from automl.compression.importance.scored import relative
from automl.compression.layer_matrix import is_transposed
from automl.errors import UsageError
from automl.network import ChannelGroup, Side

Tensor = torch.Tensor
#: Steps in which a classifier is fitted, and how strongly its weights are held to zero.
_FITTING: Final = 30
_RIDGE: Final = 1e-3


@dataclass(frozen=True, slots=True)
class Dcp(Importance):
    """Gradients of a joint loss with respect to the weights of channels that are away.

    Attributes:
        stages: In how many parts channels come back.
        balance: Of the classifier's loss beside the outputs' error.
        images: Most calibration inputs that are looked at.

    Raises:
        UsageError: No stages or images.
    """

    stages: int = 8
    balance: float = 1.0
    images: int = 256

    def __post_init__(self) -> None:
        if self.stages < 1 or self.images < 1:
            raise UsageError(
                f"dcp takes at least 1 of stages and of images, not {self.stages} and {self.images}"
            )

    def order(
        self, group: ChannelGroup, readers: Sequence[Reader], statistics: ChannelStatistics
    ) -> Tensor:
        """Channels from those that come back last to the first."""
        model, channels = statistics.traced.model, group.channels
        targets = statistics.targets[: self.images].long()
        sides = list(group.consumers)
        read = statistics.inputs([side.module for side in sides], self.images)
        layers = [
            _Layer(model.get_submodule(side.module), side, values, targets[: len(values)])
            for side, values in zip(sides, read, strict=True)
        ]
        back, away = list[int](), torch.ones(channels, dtype=torch.bool)
        for stage in range(self.stages):
            left = channels * (stage + 1) // self.stages - len(back)
            if not left:
                continue
            wanted = torch.zeros(channels, dtype=torch.float64)
            for layer in layers:
                wanted += relative(layer.wanted(away, self.balance))
            wanted[~away] = -torch.inf
            chosen = wanted.argsort(descending=True, stable=True)[:left]
            back += chosen.tolist()
            away[chosen] = False
        return torch.tensor(back[::-1])


class _Layer:
    """A layer that reads the channels, with a classifier behind it.

    Args:
        module: The layer.
        side: Where it reads them.
        values: What it reads, images first.
        targets: The images' classes.
    """

    def __init__(self, module: Any, side: Side, values: Tensor, targets: Tensor) -> None:
        self._module, self._values, self._targets = module, values, targets
        self._at = torch.tensor(side.positions)
        with torch.no_grad():
            self._dense = module(values)
        self._scale = float(self._dense.square().mean()) + 1e-12
        self._kinds, self._index = targets.unique(return_inverse=True)
        self._classifier = fitted_classifier(self._pooled(self._dense), self._index)

    def wanted(self, away: Tensor, balance: float) -> Tensor:
        """Lengths of the joint loss's gradients by the weights that read each channel: [channels].

        Args:
            away: Which channels are away.
            balance: Of the classifier's loss.
        """
        weight = self._module.weight.detach().clone()
        for part in self._parts(weight, away):
            part.zero_()
        weight.requires_grad_()
        with torch.enable_grad():
            named = {"weight": weight, "bias": self._module.bias}
            found = functional_call(self._module, named, (self._values,))
            error = (found - self._dense).square().mean() / self._scale
            told = F.cross_entropy(self._classifier(self._pooled(found)), self._index)
            (slope,) = torch.autograd.grad(error + balance * told, weight)
        every = torch.arange(len(away))
        squares = [
            sum(part.double().square().sum() for part in self._parts(slope, every == channel))
            for channel in every.tolist()
        ]
        return torch.stack([torch.as_tensor(each) for each in squares]).sqrt()

    def _pooled(self, outputs: Tensor) -> Tensor:
        """Behind a ReLU, the mean over places: [images, channels]."""
        rectified = F.relu(outputs)
        if isinstance(self._module, nn.Linear):
            return rectified.reshape(len(self._values), -1, outputs.shape[-1]).mean(1)
        return rectified.flatten(2).mean(2)

    def _parts(self, weight: Tensor, chosen: Tensor) -> Iterator[Tensor]:
        """Views of the weights that read some channels."""
        module = self._module
        per_run = module.in_channels // module.groups if hasattr(module, "groups") else 0
        for place in self._at[chosen].flatten().tolist():
            if is_transposed(module):
                yield weight[place]
            elif not per_run:
                yield weight[:, place]
            else:
                run, own = divmod(place, per_run)
                outputs = weight.shape[0] // module.groups
                yield weight[run * outputs : (run + 1) * outputs, own]


def fitted_classifier(values: Tensor, classes: Tensor) -> nn.Module:
    """A linear layer that tells the classes of values [images, features] apart, none drawn."""
    mean, spread = values.mean(0), values.std(0, unbiased=False).clamp_min(1e-6)
    layer = nn.Linear(values.shape[1], int(classes.max()) + 1)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.zero_()
    scaled = (values - mean) / spread
    search = torch.optim.LBFGS(layer.parameters(), max_iter=_FITTING, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        with torch.enable_grad():
            found = F.cross_entropy(layer(scaled), classes)
            found = found + _RIDGE * layer.weight.square().sum()
            found.backward()
        return found

    search.step(loss)
    with torch.no_grad():
        layer.weight.div_(spread)
        layer.bias.sub_(layer.weight @ mean)
    return layer.requires_grad_(False)
