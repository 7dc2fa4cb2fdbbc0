"""Weights of a network in training as they will be delivered, with gradients, for losses."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from automl.errors import UsageError
from automl.recovery.formed import FormedStudent
from automl.recovery.layer_weights import by_output, layer_weights, layers_before_norms, norm_scale
from automl.recovery.quantised import QuantizedStudent

Tensor = torch.Tensor


class DeliveredWeights:
    """Weights with the norms behind their layers folded, and of forms the weights that they make.

    Behind a norm a layer's own weights can have any length, and a loss of it changes nothing that
    the network computes. What is delivered has the length that the norm gives it: the loss's
    gradient by a length goes to the norm's weight, and that by weights keeps their length, for the
    variance behind them would follow it. (The variance is the running one, and takes no gradient.)
    Of networks that compute in integers these are the numbers that are rounded; where a rounding
    reads none, as of shared values, the layer is left out.

    Args:
        student: What is trained.
        inputs: Some of its inputs, [images, ...].
    """

    def __init__(self, student: nn.Module, inputs: Tensor) -> None:
        self._student, self._network, self._unread = student, student, frozenset[str]()
        self._norms: dict[str, tuple[nn.Module, nn.Module]] = {}
        if isinstance(student, QuantizedStudent):
            self._network, self._unread = student.network, student.unread
            return
        if isinstance(student, FormedStudent):
            self._network = student.network
        self._norms = layers_before_norms(self._network, inputs)

    def __call__(self) -> dict[str, Tensor]:
        """By the weights' names in the network, of their shapes.

        Raises:
            UsageError: There are none.
        """
        found: dict[str, Tensor] = {}
        made = self._student.weights() if isinstance(self._student, FormedStudent) else {}
        for name, own in layer_weights(self._network).items():
            if name.rpartition(".")[0] in self._unread:
                continue
            weight = made.get(name, own)
            found[name] = _folded(weight, *self._norms[name]) if name in self._norms else weight
        if not found:
            raise UsageError(
                "losses of weights have none here: those of all layers are values that they share"
            )
        return found


def _folded(weight: Tensor, layer: Any, norm: Any) -> Tensor:
    """A layer's weights times what its norm multiplies each output with."""
    lengths = _lengths(layer, weight).clamp_min(1e-30)
    held = by_output(layer, lengths.detach() * norm_scale(norm).detach() / lengths)
    gamma = lengths.new_ones(len(lengths)) if norm.weight is None else norm.weight
    return weight * held * by_output(layer, gamma)


def _lengths(layer: Any, weight: Tensor) -> Tensor:
    """Of what each output is made with, [outputs]."""
    if isinstance(layer, nn.modules.conv._ConvTransposeNd):
        runs = weight.unflatten(0, (layer.groups, -1)).flatten(3)
        found: Tensor = torch.linalg.vector_norm(runs, dim=(1, 3)).flatten()
    else:
        found = torch.linalg.vector_norm(weight.flatten(1), dim=1)
    return found
