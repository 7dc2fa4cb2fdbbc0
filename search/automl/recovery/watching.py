"""Hooks that change gradients as they come, before they are clipped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from automl.recovery.base import Hook
from automl.recovery.channels import ChannelPart, CoupledChannels
from automl.recovery.layer_weights import LAYERS, layer_weights

Tensor = torch.Tensor


class WatchingHook(Hook):
    """A hook that stands on weights or layers of a network while it is trained.

    A step's gradients are held to one length. What is masked after that has taken its part of the
    length already, and what learns has less: so gradients are masked here, as they come.
    """

    def __init__(self) -> None:
        self._watched: list[RemovableHandle] = []

    def detach(self, model: nn.Module) -> None:
        """Watch no longer."""
        for handle in self._watched:
            handle.remove()
        self._watched = []

    def watch_gradients(
        self, weights: Mapping[str, nn.Parameter], change: Callable[[str, Tensor], Tensor | None]
    ) -> None:
        """Change gradients of weights.

        Args:
            weights: By their names; those without gradients are left out.
            change: Gives another gradient, of a name and a gradient; None for the same.
        """
        self._watched += [
            weight.register_hook(partial(change, name))
            for name, weight in weights.items()
            if weight.requires_grad
        ]

    def watch_channels(
        self,
        model: nn.Module,
        groups: tuple[CoupledChannels, ...],
        change: Callable[[int, ChannelPart, Tensor], Tensor | None],
    ) -> None:
        """Change gradients of what channels are written with.

        Args:
            model: What is trained.
            groups: Whose filters, biases and norms are watched.
            change: Gives another gradient, of a group's number, a part of it, and the gradient.
        """
        for number, group in enumerate(groups):
            for part in group.written:
                weight = {part.name: model.get_parameter(part.name)}
                self.watch_gradients(weight, partial(_of_part, change, number, part))

    def watch_outputs(self, model: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
        """Change what goes backwards at the outputs of all layers.

        Args:
            model: What is trained.
            change: Gives another gradient, [images, ...].

        Raises:
            UsageError: There are no layers.
        """

        def seen(module: nn.Module, inputs: object, output: Tensor) -> None:
            if output.requires_grad:
                output.register_hook(change)

        names = {name.rpartition(".")[0] for name in layer_weights(model)}
        layers = [each for name, each in model.named_modules() if name in names]
        self._watched += [
            each.register_forward_hook(seen) for each in layers if isinstance(each, LAYERS)
        ]


def _of_part(
    change: Callable[[int, ChannelPart, Tensor], Tensor | None],
    number: int,
    part: ChannelPart,
    name: str,
    gradient: Tensor,
) -> Tensor | None:
    return change(number, part, gradient)
