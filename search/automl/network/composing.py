"""One layer that computes what several do, one after the other: the product of their weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import product
from typing import Any

import torch
from torch import nn

from automl.network.merges import Window

Tensor = torch.Tensor


def padding_of(module: Any) -> tuple[int, ...] | None:
    """A layer's padding, one number a dimension; None where its sides are padded unlike."""
    value = module.padding
    if not isinstance(value, str):
        return tuple(value)
    if value == "valid":
        return (0,) * len(module.kernel_size)
    reach = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
    return None if any(each % 2 for each in reach) else tuple(each // 2 for each in reach)


def composed(layers: Sequence[nn.Module]) -> nn.Module:
    """One layer that computes what several do, one after the other, with nothing between them.

    It is exact where none of them but the first pads what it reads. Else it is exact but for the
    places whose window reaches beyond what the layers before write: there they see zeros, and the
    one layer what lies beyond.
    """
    return reduce(LinearMap.before, map(LinearMap.of, layers)).made(layers[0])


def outlined(layers: Sequence[nn.Module]) -> nn.Module:
    """As `composed`, of any numbers: what it reads and writes alone counts, and takes no time."""
    return reduce(LinearMap.before, map(LinearMap.outline, layers)).made(layers[0])


def with_identity(layer: nn.Module) -> nn.Module:
    """A layer that writes what it reads as well, changed in place: 1 at the centre of its kernel.

    Source: Ding et al. 2021 (RepVGG), section 3.3. It reads as many channels as it writes, and its
    kernel has a centre.
    """
    own: Any = layer
    outputs, inputs, *kernel = own.weight.shape
    channel = torch.arange(outputs, device=own.weight.device)
    centre = tuple(taps // 2 for taps in kernel)
    with torch.no_grad():
        own.weight[(channel, channel % inputs, *centre)] += 1.0
    return layer


@dataclass(frozen=True, slots=True)
class LinearMap:
    """A linear map of channels around each place.

    Attributes:
        weight: [groups, outputs of a group, inputs of a group, *kernel], float64.
        bias: [outputs], float64.
        window: What it reads; empty of a linear layer.
    """

    weight: Tensor
    bias: Tensor
    window: Window

    @classmethod
    def outline(cls, module: Any) -> LinearMap:
        """A layer's, without its numbers."""
        return cls.of(module, torch.device("meta"))

    @classmethod
    def of(cls, module: Any, device: torch.device | None = None) -> LinearMap:
        """A layer's, on its own device or another."""
        groups = getattr(module, "groups", 1)
        weight = module.weight.detach().to(device or module.weight.device, torch.float64)
        window = Window((), (), (), ())
        if not isinstance(module, nn.Linear):
            padding = padding_of(module) or ()
            window = Window(
                tuple(module.kernel_size), tuple(module.stride), padding, tuple(module.dilation)
            )
        own = module.bias
        bias = weight.new_zeros(weight.shape[0]) if own is None else own.detach().to(weight)
        return cls(weight.unflatten(0, (groups, -1)), bias, window)

    @property
    def groups(self) -> int:
        return self.weight.shape[0]

    def before(self, after: LinearMap) -> LinearMap:
        """This map, then another, as one."""
        one, other = (self, after) if self.groups == after.groups else (self.dense, after.dense)
        window = one.window.before(other.window)
        weight = one.weight.new_zeros(
            one.groups, other.weight.shape[1], one.weight.shape[2], *window.kernel
        )
        for taps in product(*map(range, other.window.kernel)):
            here: Any = (..., *one._places(taps, other, window))
            tap: Any = (..., *taps)
            weight[here] += torch.einsum("gom,gmi...->goi...", other.weight[tap], one.weight)
        sums = other.weight.flatten(3).sum(3) if other.weight.dim() > 3 else other.weight
        shift = sums @ one.bias.view(one.groups, -1, 1)
        return LinearMap(weight, shift.flatten() + other.bias, window)

    def _places(self, taps: Sequence[int], after: LinearMap, whole: Window) -> Iterator[slice]:
        """Where this map's taps come to lie for one tap of the next."""
        axes = zip(
            taps,
            self.window.kernel,
            self.window.stride,
            self.window.dilation,
            after.window.dilation,
            whole.dilation,
            strict=True,
        )
        for tap, count, step, apart, apart2, unit in axes:
            first, gap = tap * step * apart2 // unit, max(1, apart // unit)
            yield slice(first, first + (count - 1) * gap + 1, gap)

    @property
    def dense(self) -> LinearMap:
        """The same in one group."""
        groups, outputs, inputs, *kernel = self.weight.shape
        whole = self.weight.new_zeros(groups, outputs, groups, inputs, *kernel)
        index = torch.arange(groups, device=self.weight.device)
        whole[index, :, index] = self.weight
        return replace(self, weight=whole.flatten(2, 3).flatten(0, 1).unsqueeze(0))

    def made(self, like: Any) -> nn.Module:
        """As a layer of the kind and the type of number of another."""
        groups, outputs, inputs = self.weight.shape[:3]
        with torch.random.fork_rng(devices=[]):  # what the layer is drawn with is written over
            if isinstance(like, nn.Linear):
                layer: Any = nn.Linear(inputs, outputs, dtype=like.weight.dtype)
            else:
                layer = type(like)(
                    inputs * groups,
                    outputs * groups,
                    self.window.kernel,
                    self.window.stride,
                    self.window.padding,
                    self.window.dilation,
                    groups,
                    padding_mode=like.padding_mode,
                    dtype=like.weight.dtype,
                )
        if not self.weight.is_meta:
            with torch.no_grad():
                layer.weight.copy_(self.weight.flatten(0, 1))
                layer.bias.copy_(self.bias)
        made: nn.Module = layer.requires_grad_(like.weight.requires_grad)
        return made
