"""Normalising layers: which of their channels go together, and how they are cut and masked.

Batch and instance norms treat each channel alone: without some channels the others stay as they
are. Of a group norm whole groups go, which is exact too. A layer or RMS norm, and a group norm of
one group, takes its statistics over all channels. Without some of them it takes them over those
that stay; the masked network does the same (`KeptNorm`), so the cut network equals it.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from automl.network.forward_tracer import base_kind
from automl.network.heads import Heads
from automl.network.labels import NORMALISED, varying, vector
from automl.network.union_find import core

Tensor = torch.Tensor
#: Kinds of layers that normalise, beside batch norms.
NORMS: Final = ("instance_norm", "group_norm", "layer_norm", "rms_norm")
_LAST: Final = ("layer_norm", "rms_norm")
#: Torch's functions that take statistics over channels, and whether the channels lie last.
_FUNCTIONS: Final = {
    F.layer_norm: True,
    torch.layer_norm: True,
    F.rms_norm: True,
    torch.rms_norm: True,
    F.group_norm: False,
    torch.group_norm: False,
}


def is_stream(module: nn.Module) -> bool:
    """Whether a layer takes its statistics over all of its channels."""
    kind = base_kind(module)
    return kind in _LAST or (kind == "group_norm" and _groups(module) == 1)


def norm_channels(module: Any) -> int:
    """How many channels a normalising layer has along the dimension that it can lose some of."""
    if base_kind(module) in _LAST:
        return int(module.normalized_shape[-1])
    return int(module.num_channels if isinstance(module, nn.GroupNorm) else module.num_features)


def norm_line(heads: Heads, module: nn.Module, labels: Tensor) -> Tensor | None:
    """Labels along the channels of what a norm reads, those that go together made one.

    None where they are none, as of a norm over the width of maps. Of a norm of each head these are
    the places within heads. Freezes labels that it cannot follow.
    """
    kind, union = base_kind(module), heads.union
    if kind in _LAST and not _along_last(module, labels):
        return None
    line = vector(labels, -1 if kind in _LAST else 1)
    if line is None and kind in _LAST and len(varying(labels)) == 2:
        line = heads.grid(core(labels).reshape(-1, labels.size(-1))).columns
    if line is None:
        union.freeze(labels, NORMALISED)
        return None
    if kind == "group_norm" and 1 < _groups(module) < line.numel():
        runs = line.view(_groups(module), -1)
        for place in runs.unbind(1):
            union.join(runs[:, 0], place, NORMALISED)
    return line


def slice_norm(module: Any, positions: Tensor) -> None:
    """The sizes of a norm that keeps these channels; its tensors are sliced elsewhere."""
    count = positions.numel()
    if base_kind(module) in _LAST:
        module.normalized_shape = (count,)
    elif isinstance(module, nn.GroupNorm):
        if module.num_groups > 1:
            module.num_groups = count * module.num_groups // module.num_channels
        module.num_channels = count
    else:
        module.num_features = count


class KeptNorm:
    """The forward of a norm that takes its statistics over some channels; the others become zero.

    Args:
        module: The norm, or one of a class derived from it.
        positions: Channels that stay.
    """

    def __init__(self, module: nn.Module, positions: Tensor) -> None:
        self._module, self._positions = module, positions

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the module's class gives."""
        with _OverKept(self._module, self._positions):
            return type(self._module).forward(self._module, *args, **kwargs)


class _OverKept(TorchFunctionMode):
    def __init__(self, module: nn.Module, positions: Tensor) -> None:
        super().__init__()
        self._module, self._positions = module, positions

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        last = _FUNCTIONS.get(func)
        if last is None:
            return func(*args, **(kwargs or {}))
        module: Any = self._module
        read: Tensor = args[0]
        dim, at = -1 if last else 1, self._positions
        kept = read.index_select(dim, at)
        first: Any = (at.numel(),) if last else module.num_groups
        weight = None if module.weight is None else module.weight[at]
        bias = None if _bias(module) is None else module.bias[at]
        if base_kind(module) == "rms_norm":
            found = F.rms_norm(kept, first, weight, module.eps)
        else:
            function: Any = F.layer_norm if last else F.group_norm
            found = function(kept, first, weight, bias, module.eps)
        return torch.zeros_like(read).index_copy(dim, at, found)


def _bias(module: nn.Module) -> Tensor | None:
    bias: Tensor | None = getattr(module, "bias", None)
    return bias


def _groups(module: Any) -> int:
    return int(module.num_groups)


def _along_last(module: Any, labels: Tensor) -> bool:
    """Whether the channels lie along what a norm of trailing dimensions is over."""
    dims = range(labels.dim() - len(module.normalized_shape), labels.dim())
    return any(labels.size(dim) > 1 and labels.stride(dim) != 0 for dim in dims)
