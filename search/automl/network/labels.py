"""Which channels hang together: every channel of every tensor carries a label through the network.

A layer that writes channels gives them fresh labels. Moving data (views, concatenation, padding,
shuffles) moves the labels with it by running the same operator on them; element-wise arithmetic
makes the labels of its operands one; what mixes channels without weights of its own freezes them.
Labels that are one in the end must be pruned together. This finds what a rule per operator misses:
channels padded by a shortcut, shuffled by a transpose, or laid side by side.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils._pytree import tree_map

Tensor = torch.Tensor
NONE = 0  #: the label of what is no channel: constants, padding, values we cannot follow

MOVES = frozenset(
    "view _unsafe_view reshape permute transpose t expand cat stack split split_with_sizes chunk "
    "slice select narrow clone contiguous detach alias squeeze unsqueeze "
    "flip roll index_select repeat pixel_shuffle pixel_unshuffle channel_shuffle unbind as_strided "
    "lift_fresh native_channel_shuffle _reshape_alias unflatten flatten swapaxes movedim "
    "squeeze_ unsqueeze_ transpose_ t_ unsafe_split unsafe_chunk".split()
)
POINTWISE = frozenset(
    "hardswish hardsigmoid hardtanh copy lerp fill dropout native_dropout".split()
)
SPATIAL = frozenset(
    "max_pool2d_with_indices max_pool1d max_pool2d avg_pool1d avg_pool2d _adaptive_avg_pool2d "
    "adaptive_avg_pool2d adaptive_avg_pool1d adaptive_max_pool2d upsample_nearest2d "
    "upsample_bilinear2d upsample_bicubic2d _upsample_bilinear2d_aa _upsample_nearest_exact2d "
    "upsample_nearest1d upsample_linear1d reflection_pad2d replication_pad2d grid_sampler_2d "
    "reflection_pad1d replication_pad1d".split()
)
REDUCTIONS = frozenset("mean sum amax amin var std norm max min".split())
ALONG = frozenset("_softmax _log_softmax cumsum".split())
NORMS = frozenset("native_layer_norm native_group_norm _fused_rms_norm".split())


class Union:
    """Union-find over labels, each class with at most one reason why it is frozen."""

    def __init__(self) -> None:
        self._parent = [NONE]
        self._frozen: dict[int, str] = {NONE: ""}

    def fresh(self, count: int) -> Tensor:
        """New labels, one a channel."""
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        return torch.arange(first, first + count)

    def root(self, label: int) -> int:
        """The label that stands for its class."""
        parent = self._parent
        while parent[label] != label:
            parent[label] = parent[parent[label]]
            label = parent[label]
        return label

    def roots(self, labels: Tensor | NDArray[np.int64]) -> NDArray[np.int64]:
        """`root` of every label of a vector."""
        values = labels.flatten().tolist()
        return np.array([self.root(int(label)) for label in values], dtype=np.int64)

    def join(self, left: Tensor, right: Tensor, reason: str) -> None:
        """Make the labels at equal places of two tensors one; what joins `NONE` is frozen."""
        pairs = torch.stack([left.flatten(), right.flatten()], 1).unique(dim=0)
        for a, b in pairs[pairs[:, 0] != pairs[:, 1]].tolist():
            first, second = sorted((self.root(a), self.root(b)))
            if first == second:
                continue
            if first == NONE:
                self._frozen.setdefault(second, reason)
                continue
            self._parent[second] = first
            if second in self._frozen:
                self._frozen.setdefault(first, self._frozen.pop(second))

    def freeze(self, labels: Tensor, reason: str) -> None:
        """These channels stay."""
        for label in labels.unique().tolist():
            self._frozen.setdefault(self.root(label), reason)

    def frozen(self, root: int) -> str | None:
        """Why a class is frozen; None where it is not."""
        return self._frozen.get(root)


def compact(labels: Tensor) -> Tensor:
    """The same labels, with dimensions along which they do not change stored once."""
    for dim in range(labels.dim()):
        if labels.size(dim) > 1 and labels.stride(dim) != 0:
            first = labels.narrow(dim, 0, 1)
            if torch.equal(first.expand_as(labels), labels):
                labels = first.expand_as(labels)
    return labels


def vector(labels: Tensor, dim: int) -> Tensor | None:
    """The labels along `dim`, or None where they also change along another dimension."""
    dim %= labels.dim()
    line = labels
    for other in range(labels.dim()):
        if other != dim:
            line = line.narrow(other, 0, 1)
    return line.flatten() if torch.equal(line.expand_as(labels), labels) else None


class Rules:
    """How labels go through operators that have no weights."""

    def __init__(self, union: Union) -> None:
        self.union = union

    def apply(self, op: str, func: Any, args: Any, kwargs: Any, output: Any) -> Any:
        """Labels of the output; `args` hold label tensors, `output` the real result.

        Returns None where the operator is not known: the caller freezes what went in.
        """
        name = op.rstrip("_") or op
        if name == "_to_copy":
            return args[0]
        if name == "constant_pad_nd":
            return compact(torch.constant_pad_nd(args[0], args[1], NONE))
        if name in MOVES or op in MOVES:
            return tree_map(
                lambda value: compact(value) if isinstance(value, Tensor) else value,
                func(*args, **kwargs),
            )
        if name in POINTWISE or torch.Tag.pointwise in getattr(func, "tags", ()):
            return self._pointwise(name, args, kwargs, output)
        if name in SPATIAL:
            return self._spatial(args[0], output)
        if name in REDUCTIONS:
            return self._reduce(name, args, output)
        if name in ALONG:
            return self._along(name, args[0], int(args[1]))
        if name in NORMS:
            self.union.freeze(args[0], "its channels are normalised together")
            return args[0]
        return None

    def _pointwise(self, name: str, args: Any, kwargs: Any, output: Any) -> Tensor:
        shape = (output[0] if isinstance(output, tuple) else output).shape
        operands = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        operands = [value for value in operands if value.numel() > 1 or len(operands) == 1]
        if not operands:
            return torch.zeros((), dtype=torch.int64).expand(shape)
        wide = [value.expand(shape) for value in operands]
        varying = {d for value in wide for d in range(len(shape)) if _varies(value, d)}
        result = None
        for small, value in zip(operands, wide, strict=True):
            offset = len(shape) - small.dim()
            spread = [d for d in varying if d < offset or small.size(d - offset) < shape[d]]
            if spread:  # one value serves all channels: nothing to couple, nothing to cut
                if any(_varies(value, d) for d in range(len(shape))):
                    self.union.freeze(value, f"it is spread over other channels by {name}")
                continue
            if result is None:
                result = value
            else:
                self.union.join(*_smallest(result, value), f"{name} with values of fixed size")
                result = torch.where(result == NONE, value, result)
        return compact(result if result is not None else torch.zeros_like(wide[0]))

    def _spatial(self, labels: Tensor, output: Any) -> Any:
        result = output[0] if isinstance(output, tuple | list) else output
        line = vector(labels, 1)
        if line is None:
            self.union.freeze(labels, "its maps mix channels")
            line = torch.zeros(result.shape[1], dtype=torch.int64)
        shaped = line.view(1, -1, *[1] * (result.dim() - 2)).expand(result.shape)
        return (shaped,) if isinstance(output, tuple | list) else shaped

    def _reduce(self, name: str, args: Any, output: Any) -> Any:
        labels, dims = args[0], args[1] if len(args) > 1 else None
        if dims is None or (isinstance(dims, list) and not dims) or isinstance(dims, Tensor):
            dims = list(range(labels.dim()))
        dims = [dims] if isinstance(dims, int) else dims
        low, high = labels.amin(dims), labels.amax(dims)
        if not torch.equal(low, high):
            self.union.freeze(labels, f"{name} mixes its channels")
            low = torch.zeros_like(low)
        shape = (output[0] if isinstance(output, tuple) else output).shape
        reduced = compact(low.reshape(shape))
        return (reduced, reduced) if isinstance(output, tuple) else reduced

    def _along(self, name: str, labels: Tensor, dim: int) -> Tensor:
        if _varies(labels, dim % labels.dim()):
            self.union.freeze(labels, f"{name.strip('_')} runs over its channels")
        return labels


def _varies(labels: Tensor, dim: int) -> bool:
    if labels.size(dim) < 2 or labels.stride(dim) == 0:
        return False
    return not torch.equal(labels.narrow(dim, 0, 1).expand_as(labels), labels)


def _smallest(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Both without the dimensions along which neither changes."""
    for dim in range(left.dim()):
        if not _varies(left, dim) and not _varies(right, dim):
            left, right = left.narrow(dim, 0, 1), right.narrow(dim, 0, 1)
    return left, right
