"""One set of weights for all networks of a space: each has slices of the largest one's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from automl.network import Network, norms_behind, smaller_with_norms
from automl.policy import Policy

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class Slice:
    """A smaller network, and where its weights are in the largest one's.

    Attributes:
        model: With copies of the weights, and gradients.
        places: Per parameter, the index of each of its values in the flat parameter of that name.
    """

    model: nn.Module
    places: Mapping[str, Tensor]


class SlicedWeights:
    """A network whose smaller ones have slices of its weights, the most important channels first.

    Which channels a count keeps is nested, so that a narrower network's channels are all among a
    wider one's, as where channels are sorted by importance and cut off.

    Source: Yu et al., Slimmable Neural Networks, 2019; Cai et al., Once-for-All, 2020 (sorted
    channels).

    Args:
        model: The largest, with its batch norms (`with_norms`).
        network: What was traced of it.
        kept: Per channel group that loses some under a policy, which stay.
    """

    def __init__(
        self,
        model: nn.Module,
        network: Network,
        kept: Callable[[Policy], Mapping[str, Tensor]],
    ) -> None:
        self.model, self._network, self._kept = model, network, kept
        self._norms = norms_behind(model, torch.zeros(network.input_shape))
        self._numbered = self._cut(Policy(), model).double()
        with torch.no_grad():
            for parameter in self._numbered.parameters():
                parameter.copy_(torch.arange(parameter.numel()).view_as(parameter))

    def slice(self, policy: Policy) -> Slice:
        """The network of a policy.

        Args:
            policy: Of channels, blocks and a resolution, in float.
        """
        numbers = self._cut(policy, self._numbered)
        places = {name: each.detach().long() for name, each in numbers.named_parameters()}
        return Slice(self._cut(policy, self.model).requires_grad_(True), places)

    def _cut(self, policy: Policy, model: nn.Module) -> nn.Module:
        groups, removed = self._network.groups, frozenset(policy.removed)
        kept = dict(self._kept(policy))
        return smaller_with_norms(model, self._norms, groups, kept, removed)

    def add_gradients(self, part: Slice) -> None:
        """Add a slice's gradients to those of the weights that it has."""
        whole = dict(self.model.named_parameters())
        for name, parameter in part.model.named_parameters():
            if parameter.grad is None:
                continue
            target = whole[name]
            if target.grad is None:
                target.grad = torch.zeros_like(target)
            places = part.places[name].flatten()
            target.grad.view(-1).index_add_(0, places, parameter.grad.flatten())
