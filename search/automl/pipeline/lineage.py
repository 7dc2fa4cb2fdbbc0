"""Policies of stages: put together relative to the dense network, made from the weights beside."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from automl.errors import ModelError, PolicyError
from automl.network import TracedModel
from automl.pipeline.networks import network_of
from automl.policy import Channels, PolicyFile
from automl.userdata import load_weights


@dataclass(frozen=True, slots=True)
class PolicyFolder:
    """The folder of a policy's file.

    Attributes:
        folder: With the files that the policy names.
    """

    folder: Path

    def digest(self, name: str) -> str:
        """SHA-256 of a file.

        Raises:
            PolicyError: It is not there.
        """
        path = self.folder / name
        try:
            return hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise PolicyError(
                "the policy is that of a stage, and is made from the weights that its training"
                f" left: {path} cannot be read ({error.strerror})"
            ) from None


def beside(policy: Path) -> PolicyFolder:
    """What lies beside a policy's file."""
    return PolicyFolder(policy.parent)


def digest_of_policy(file: PolicyFile) -> str:
    """Of all that a policy's file says."""
    return hashlib.sha256(file.model_dump_json().encode()).hexdigest()


def composed(traced: TracedModel, before: PolicyFile | None, after: PolicyFile) -> PolicyFile:
    """A stage's policy relative to the dense network.

    Args:
        traced: The dense network.
        before: The policy of the stage before, relative to that; None for the first stage.
        after: The stage's, relative to the network that the stage before left.

    Raises:
        PolicyError: The stage chose of a channel group that the dense network lacks.
    """
    if before is None:
        return after
    dense = traced.network.dense_channels
    for name in after.channels:
        if name not in dense:
            raise PolicyError(f"the stage has a channel group {name!r} that the dense model lacks")
    kept = {name: each.kept for name, each in (*before.channels.items(), *after.channels.items())}
    channels = {
        name: Channels(dense=dense[name], kept=kept[name]) for name in dense if name in kept
    }
    gone = {*before.removed, *after.removed}
    removed = tuple(block.name for block in traced.network.blocks if block.name in gone)
    changed: dict[str, Any] = {"channels": channels, "removed": removed}
    return after.model_copy(update={**changed, "model": before.model, "dense": before.dense})


def staged_model(traced: TracedModel, file: PolicyFile, files: PolicyFolder) -> nn.Module:
    """The network of a stage's policy, from the weights beside it.

    Args:
        traced: The dense network.
        file: With a lineage.
        files: PolicyFolder the policy.

    Raises:
        PolicyError: The weights are not there, are not those of the policy, or do not fit it.
    """
    lineage = file.lineage
    assert lineage is not None
    if files.digest(lineage.weights) != lineage.weights_digest:
        raise PolicyError(
            f"{files.folder / lineage.weights} holds other weights than those that stage"
            f" {lineage.stage} of the policy left"
        )
    model, _ = network_of(traced, file.policy)
    try:
        load_weights(model, files.folder / lineage.weights)
    except ModelError as error:
        raise PolicyError(f"the weights of the policy do not fit its network: {error}") from None
    with torch.no_grad():
        return model.eval()
