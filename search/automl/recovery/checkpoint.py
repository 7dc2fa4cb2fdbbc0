"""A recovery's state on disk: what is left off is gone on with, to the very same end."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from automl.errors import StudyError
from automl.files import replacing

_VERSION: Final = 2


def identity_of(student: nn.Module, *told: object) -> str:
    """Of a recovery's first weights, and of what else makes it another one.

    Args:
        student: Before the first step.
        told: RecoveryRecipe, seed and the like.
    """
    digest = hashlib.sha256(repr(told).encode())
    for name, value in student.state_dict().items():
        digest.update(f"{name}:{tuple(value.shape)};".encode())
        digest.update(
            value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        )
    return digest.hexdigest()[:32]


def save_checkpoint(path: Path, identity: str, state: dict[str, Any]) -> None:
    """Write a state of tensors and plain values, whole or not at all.

    Raises:
        OSError: It cannot be written, such as to a full disk; what was there is kept.
    """
    with replacing(path) as temporary:
        torch.save({"version": _VERSION, "identity": identity, "state": state}, temporary)


def load_checkpoint(path: Path, identity: str) -> dict[str, Any] | None:
    """The state that was written; None where there is no file.

    Raises:
        StudyError: The file is none, or of another recovery.
    """
    if not path.is_file():
        return None
    try:
        found = torch.load(path, weights_only=True, map_location="cpu")
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0][:120]
        raise StudyError(f"{path} is no checkpoint of a recovery ({reason}): delete it") from None
    if not isinstance(found, dict) or found.get("version") != _VERSION:
        raise StudyError(f"{path} is no checkpoint of a recovery of this version: delete it")
    if found.get("identity") != identity:
        raise StudyError(
            f"{path} is the checkpoint of another recovery (another policy, recipe, hook, seed or"
            " first weights): delete it, or finish that one"
        )
    state: dict[str, Any] = found["state"]
    return state
