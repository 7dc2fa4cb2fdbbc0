"""What an index takes out of a value: rows of a table, tokens that were chosen.

Labels and coordinates move with what is taken, by the very indices of the recorded pass; that is
right for any indices where nothing changes along the dimensions that are indexed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from automl.network.labels import compact, varies

Tensor = torch.Tensor


def picked(op: str, labels: Any, args: Sequence[Any]) -> Tensor | None:
    """Labels of what is taken; None of other operations, and where channels are chosen among.

    Args:
        op: The operation's name.
        labels: Of what it takes from.
        args: What it was given.
    """
    if op not in ("index", "index_select", "gather") or not isinstance(labels, Tensor):
        return None
    if op == "index":
        dims = [dim for dim, each in enumerate(args[1]) if each is not None]
    else:
        dims = [args[1] % labels.dim()]
    if any(varies(labels, dim) for dim in dims):
        return None
    if op == "index":
        return compact(torch.ops.aten.index(labels, args[1]))
    if op == "gather":
        return compact(labels.gather(dims[0], args[2]))
    return compact(labels.index_select(dims[0], args[2]))
