"""Which channels are coupled: every channel of every tensor carries a label through the network.

The output channels of a layer get fresh labels. Moving data (views, concatenation, padding,
shuffles) moves the labels with it by running the same operator on them; element-wise arithmetic
makes the labels of its operands one; what mixes channels without weights of its own freezes them.
Labels that are one in the end must be pruned together. This finds what a rule per operator misses:
channels padded by a shortcut, shuffled by a transpose, or laid side by side.

A label tensor has the shape of the value it describes. It is always stored compact: dimensions
along which labels do not change have stride 0, so that most of the work is on a few numbers.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch.utils._pytree import tree_map

from automl.network.union_find import NONE, UnionFind, core

Tensor = torch.Tensor

#: Why channels stay: one wording for one reason, so that a list of them can be condensed.
INPUT = "its channels are tied to the network's input"
OUTPUT = "its channels are the network's output"
NORMALISED = "its channels are normalised together"
SPLIT = "its channels are split at fixed places"
POSITIONS = "its channels are mixed with positions"
FUNCTIONAL = "its channels are read by weights that belong to no layer"
ATTENTION = "its channels are mixed by a product of activations"
TOGETHER = "all of its channels are coupled"
COUNTED = "its channels are read by statistics alone"
WRITTEN = "its channels are written into a part of another tensor"
FIXED = "its channels meet values of fixed size"
STEPS = "its channels are read by a recurrent layer"


def names(text: str) -> frozenset[str]:
    """The words of a text: ATen operators are listed as one line."""
    return frozenset(text.split())


#: What takes a tensor for its shape alone.
CREATES = names(
    "new_zeros new_ones new_full new_empty zeros_like ones_like full_like empty_like rand_like "
    "randn_like new_empty_strided"
)
VIEWS = names("view _unsafe_view reshape _reshape_alias flatten unflatten")
_SAME = names("clone contiguous detach alias lift_fresh _to_copy")
_MOVES = names(
    "permute transpose t expand cat stack squeeze unsqueeze flip roll repeat "
    "pixel_unshuffle channel_shuffle native_channel_shuffle swapaxes movedim"
)
_PARTS = names("split split_with_sizes unsafe_split unsafe_chunk chunk slice select narrow unbind")
_POINTWISE = names("hardswish hardsigmoid hardtanh copy lerp fill dropout")
_SPATIAL = names(
    "max_pool2d_with_indices max_pool1d max_pool2d avg_pool1d avg_pool2d _adaptive_avg_pool2d "
    "adaptive_avg_pool2d adaptive_avg_pool1d adaptive_max_pool2d upsample_nearest2d "
    "upsample_bilinear2d upsample_bicubic2d _upsample_bilinear2d_aa _upsample_nearest_exact2d "
    "upsample_nearest1d upsample_linear1d reflection_pad2d replication_pad2d grid_sampler_2d "
    "reflection_pad1d replication_pad1d max_pool3d_with_indices avg_pool3d _adaptive_avg_pool3d "
    "adaptive_max_pool3d upsample_nearest3d _upsample_nearest_exact3d upsample_trilinear3d "
    "reflection_pad3d replication_pad3d"
)
_REDUCTIONS = names("mean sum amax amin var std max min prod")
_LENGTHS = names("norm linalg_vector_norm")  # reductions whose dimensions are named third
_ALONG = names("_softmax _log_softmax _safe_softmax cumsum")
_NORMS = names("native_layer_norm native_group_norm _fused_rms_norm")
_PRODUCTS = names("mm addmm convolution")


def compact(labels: Tensor) -> Tensor:
    """The same labels, with dimensions along which they do not change stored once."""
    small = core(labels)
    for dim in range(small.dim()):
        if small.size(dim) > 1:
            first = small.narrow(dim, 0, 1)
            if bool((first == small).all()):
                small = first
    return small.expand(labels.shape)


def constant(shape: tuple[int, ...], label: int = NONE) -> Tensor:
    """One label everywhere."""
    return torch.full((1,) * len(shape), label).expand(shape)


def vector(labels: Tensor, dim: int) -> Tensor | None:
    """The labels along `dim`, or None where they also change along another dimension."""
    small = core(labels)
    extent = labels.size(dim)
    if small.numel() != small.size(dim):
        return None
    return small.flatten().expand(extent).contiguous()


class Layouts(Protocol):
    """What is told how channels are laid out, and says in the end what becomes one by it."""

    def view(self, labels: Tensor) -> None:
        """A line of channels was laid out in several dimensions."""

    def alike(self, one: Tensor, other: Tensor) -> None:
        """Two parts of a value are to lose the same."""


class Rules:
    """How labels go through operators that have no weights.

    Args:
        union: The labels.
        layouts: Told of channels that stay alike unless they are in heads; None for nobody.
    """

    def __init__(self, union: UnionFind, layouts: Layouts | None = None) -> None:
        self.union, self._layouts = union, layouts

    def apply(self, op: str, func: Any, args: Any, kwargs: Any, output: Any) -> Any:
        """Labels of the output; `args` hold label tensors, `output` the real result.

        Returns None where the operator is not known: what went in is unprunable, what came out has
        no labels.
        """
        name = op.rstrip("_") or op
        if name in _SAME:
            return args[0]
        if name in VIEWS:
            return self._view(args[0], output)
        if name == "constant_pad_nd":
            return _padded(args[0], list(args[1]), output)
        if name == "pixel_shuffle":
            return self._to_pixels(args[0], output)
        if name in _PARTS:
            self._keep_parts_equal(name, args)
        if name == "cat":
            self._keep_rows_equal(args[0], int(args[1]) if len(args) > 1 else 0)
        if name in _PARTS or name in _MOVES:
            moved = func(*args, **kwargs)
            small = self._united if name == "cat" else compact
            return tree_map(lambda v: small(v) if isinstance(v, Tensor) else v, moved)
        if name in _POINTWISE or torch.Tag.pointwise in getattr(func, "tags", ()):
            return self._pointwise(name, args, kwargs, output)
        if name in _SPATIAL:
            return self._spatial(args[0], output)
        if name in _REDUCTIONS or name in _LENGTHS:
            place = 2 if name in _LENGTHS else 1
            return self._reduce(name, args[0], args[place:], output)
        if name in _ALONG:
            return self._alike(args[0], [int(args[1]) % args[0].dim()], _mixed(name))
        if name == "embedding":
            line = vector(args[0], 1)
            return constant(output.shape) if line is None else line.expand(output.shape)
        if name in _NORMS:
            self.union.freeze(args[0], NORMALISED)
            return args[0]
        self._unknown(name, args, kwargs)
        return None

    def _unknown(self, name: str, args: Any, kwargs: Any) -> None:
        reason = f"its channels go into {name}, which cannot be followed"
        by_fixed = name == "bmm" and not bool(core(args[1]).any())
        if name in _PRODUCTS or by_fixed:
            reason = FUNCTIONAL
        elif name == "bmm" or "scaled_dot_product" in name:
            reason = ATTENTION
        tree_map(
            lambda v: self.union.freeze(v, reason) if isinstance(v, Tensor) else None,
            (args, kwargs),
        )

    def _view(self, labels: Tensor, output: Any) -> Tensor:
        result = compact(labels.reshape(output.shape))
        before = [dim for dim in range(labels.dim()) if varies(labels, dim)]
        after = [dim for dim in range(result.dim()) if varies(result, dim)]
        if self._layouts is not None and len(before) == 1 and len(after) > 1:
            self._layouts.view(result)  # runs side by side, or heads
        return result

    def _to_pixels(self, labels: Tensor, output: Any) -> Tensor:
        line = vector(labels, 1)
        if line is None:
            self.union.freeze(labels, POSITIONS)
            return constant(output.shape)
        channels = line.view(output.shape[1], -1)
        for place in channels.unbind(1):
            self.union.join(channels[:, 0], place, SPLIT)
        return compact(channels[:, 0].view(1, -1, 1, 1)).expand(output.shape)

    def _keep_parts_equal(self, name: str, args: Any) -> None:
        """Indices that are taken one by one lose the same channels each.

        Of parts of other lengths, and of slices, the module that names them is told what is left
        (`stretches`).
        """
        if name not in ("slice", "select", "unbind"):
            return
        labels, dim = args[0], int(args[1]) if len(args) > 1 else 0
        if name == "slice" and varies(labels, dim):
            self._keep_steps(labels, dim, *args[2:])
        if name == "slice" or not varies(labels, dim):
            return
        first, *rest = core(labels).split(1, dim)
        for part in rest:
            if self._layouts is not None:
                self._layouts.alike(compact(first), compact(part))

    def _keep_steps(
        self, labels: Tensor, dim: int, start: Any = 0, stop: Any = None, step: int = 1
    ) -> None:
        """What is stepped over goes with what is taken."""
        if step == 1:
            return
        extent, start = labels.size(dim), int(start or 0)
        start += extent if start < 0 else 0
        if start >= step or extent % step or (stop is not None and stop < extent):
            self.union.freeze(labels, SPLIT)
            return
        first, *rest = core(labels).unflatten(dim, (-1, step)).unbind(dim % labels.dim() + 1)
        for other in rest:
            self.union.join(first, other, SPLIT)

    def _pointwise(self, name: str, args: Any, kwargs: Any, output: Any) -> Tensor:
        shape = (output[0] if isinstance(output, tuple) else output).shape
        operands = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        operands = [value for value in operands if value.numel() > 1 or len(operands) == 1]
        if not operands:
            return constant(shape)
        wide = [value.expand(shape) for value in operands]
        varying = {d for value in wide for d in range(len(shape)) if varies(value, d)}
        result = None
        for small, value in zip(operands, wide, strict=True):
            offset = len(shape) - small.dim()
            spread = [d for d in varying if d < offset or small.size(d - offset) < shape[d]]
            if spread:  # one value serves all channels: nothing to couple, nothing to cut
                if any(varies(value, d) for d in range(len(shape))):
                    self.union.freeze(value, f"its channels are spread over others by {name}")
                continue
            if result is None:
                result = value
            else:
                self.union.join(result, value, f"{FIXED} ({name.strip('_')})")
                merged = torch.where(core(result) == NONE, core(value), core(result))
                result = self._united(merged.expand(shape))
        return result if result is not None else constant(shape)

    def _spatial(self, labels: Tensor, output: Any) -> Any:
        result = output[0] if isinstance(output, tuple | list) else output
        line = vector(labels, 1)
        if line is None:
            self.union.freeze(labels, POSITIONS)
            line = labels.new_zeros(result.shape[1])
        shaped = line.view(1, -1, *[1] * (result.dim() - 2)).expand(result.shape)
        return (shaped,) if isinstance(output, tuple | list) else shaped

    def _reduce(self, name: str, labels: Tensor, rest: Any, output: Any) -> Any:
        dims = rest[0] if rest else None
        if dims is None or (isinstance(dims, list) and not dims) or isinstance(dims, Tensor):
            dims = list(range(labels.dim()))
        dims = [dim % labels.dim() for dim in ([dims] if isinstance(dims, int) else dims)]
        labels = self._alike(labels, dims, _mixed(name))
        small = core(labels).amin(dims, keepdim=True)
        if any(varies(labels, dim) for dim in dims):
            small = torch.zeros_like(small)
        kept = [1 if dim in dims else extent for dim, extent in enumerate(labels.shape)]
        shape = (output[0] if isinstance(output, tuple) else output).shape
        reduced = compact(small.expand(kept).reshape(shape))
        return (reduced, reduced) if isinstance(output, tuple) else reduced

    def _alike(self, labels: Tensor, dims: list[int], reason: str) -> Tensor:
        """What is mixed along these dimensions: branches side by side lose the same channels.

        Where nothing but channels lies along them, the channels stay.
        """
        mixed = [dim for dim in dims if varies(labels, dim)]
        if not mixed:
            return labels
        if mixed == varying(labels):
            self.union.freeze(labels, reason)
            return labels
        for dim in mixed:
            first, *rest = core(labels).split(1, dim)
            for other in rest:
                self.union.join(first, other, reason)
        return self._united(labels)

    def _keep_rows_equal(self, parts: list[Tensor], dim: int) -> None:
        """Rows laid one after another lose the same channels."""
        dim %= parts[0].dim()
        if not any(varying(part) for part in parts) or any(varies(part, dim) for part in parts):
            return
        first, *rest = (core(part).narrow(dim, 0, 1) for part in parts if part.size(dim))
        for other in rest:
            self.union.join(first, other, f"{FIXED} (cat)")

    def _united(self, labels: Tensor) -> Tensor:
        """The same labels, those that stand for each other written as one."""
        labels = compact(labels)
        if len(varying(labels)) < 2:
            return labels
        small = core(labels)
        values, places = torch.unique(small, return_inverse=True)
        return compact(torch.from_numpy(self.union.roots(values))[places].expand(labels.shape))


def meets_constants(op: str, func: Any) -> bool:
    """Whether an operation may combine values with constants channel by channel."""
    name = op.rstrip("_")
    pointwise = name in _POINTWISE or torch.Tag.pointwise in getattr(func, "tags", ())
    return pointwise or name in ("cat", "stack", "embedding")


def varying(labels: Tensor) -> list[int]:
    """Dimensions along which labels change."""
    return [dim for dim in range(labels.dim()) if varies(labels, dim)]


def _padded(labels: Tensor, amounts: list[int], output: Any) -> Tensor:
    """Padding adds channels without label; around maps it changes no channel."""
    small, last = core(labels), labels.dim() - 1
    wanted = [0] * len(amounts)
    for index in range(len(amounts) // 2):
        if varies(labels, last - index):
            wanted[2 * index : 2 * index + 2] = amounts[2 * index : 2 * index + 2]
    return compact(torch.constant_pad_nd(small, wanted, NONE)).expand(output.shape)


def varies(labels: Tensor, dim: int) -> bool:
    """Whether compact labels change along a dimension."""
    return labels.size(dim) > 1 and labels.stride(dim) != 0


def _mixed(name: str) -> str:
    return f"its channels are mixed by {name.strip('_')}"
