"""Weights of a dense network in the shapes of what a policy has left of it, norms and all."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import nn

from automl.compression import without_gates
from automl.errors import UsageError
from automl.network import TracedModel, norms_behind, smaller_with_norms
from automl.policy import Policy

Tensor = torch.Tensor


def cut_weights(
    values: Mapping[str, Tensor],
    dense: nn.Module,
    traced: TracedModel,
    kept: Mapping[str, Tensor],
    policy: Policy,
    student: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """The student's weights, by their names, from those of the dense network.

    Args:
        values: State dict of the dense network, such as its first.
        dense: As the user gave it, with its norms.
        traced: The same, read.
        kept: Per channel group that loses some, which stay.
        policy: Whose student it is.
        student: State dict of it, norms put back.

    Raises:
        UsageError: The student has layers that the dense network has not, as those of forms.
    """
    whole = copy.deepcopy(dense).cpu().eval()
    whole.load_state_dict(values)
    groups = traced.network.groups
    removed = without_gates(traced.network, policy).removed
    norms = norms_behind(whole, torch.zeros(traced.network.input_shape))
    left = smaller_with_norms(whole, norms, groups, kept, removed)
    found, made = left.state_dict(), {}
    for name, value in student.items():
        first = found.get(name)
        if first is None and name.endswith(".bias"):
            first = torch.zeros_like(value)  # of a layer that had none before its norm was folded
        if first is None or first.shape != value.shape:
            raise UsageError(
                f"{name} of the policy's model is no part of the dense network's: rewind goes with"
                " channels and blocks alone"
            )
        made[name] = first
    return made
