"""Coupled channels of a network in training: what hooks zero, draw together, and cut out."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from automl.errors import AutomlError, UsageError
from automl.network import ChannelGroup, Side, norms_behind, smaller, trace_network
from automl.recovery.base import HookPlan
from automl.recovery.layer_weights import by_output, listed, norm_factors
from automl.recovery.quantised import QuantizedStudent

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class ChannelPart:
    """Where channels lie in one parameter or buffer.

    Attributes:
        name: Of the parameter or buffer.
        dim: Along which they lie.
        positions: [channels, positions of each].
    """

    name: str
    dim: int
    positions: Tensor

    def of(self, model: nn.Module) -> Tensor:
        """Its tensor, the channels' dimension first; a view."""
        owner, _, leaf = self.name.rpartition(".")
        tensor: Tensor = getattr(model.get_submodule(owner), leaf)
        return tensor.detach().movedim(self.dim, 0)

    def rows(self, model: nn.Module) -> Tensor:
        """A copy of what each channel has there, [channels, numbers]."""
        return self.of(model)[self.positions.flatten()].reshape(len(self.positions), -1)

    def rows_of(self, values: Tensor) -> Tensor:
        """A copy of what each channel has of values of that shape, [channels, numbers]."""
        found = values.movedim(self.dim, 0)[self.positions.flatten()]
        return found.reshape(len(self.positions), -1)

    def write(self, model: nn.Module, rows: Tensor) -> None:
        """Put rows there, [channels, numbers]."""
        view, at = self.of(model), self.positions.flatten()
        view[at] = rows.reshape(len(at), *view.shape[1:])

    def without(self, values: Tensor, gone: Tensor) -> Tensor:
        """A copy of such a tensor, zero where channels lie: [channels], true for those."""
        made, at = values.clone(), self.positions[gone.to(self.positions.device)].flatten()
        made.movedim(self.dim, 0)[at] = 0.0
        return made

    def gradient_rows(self, model: nn.Module) -> Tensor | None:
        """A copy of what each channel has of the gradient, [channels, numbers]; None for none."""
        found = self._gradient(model)
        if found is None:
            return None
        return found[self.positions.flatten()].reshape(len(self.positions), -1)

    def write_gradient(self, model: nn.Module, rows: Tensor) -> None:
        """Put rows into the gradient, where there is one."""
        found, at = self._gradient(model), self.positions.flatten()
        if found is not None:
            found[at] = rows.reshape(len(at), *found.shape[1:])

    def _gradient(self, model: nn.Module) -> Tensor | None:
        gradient: Tensor | None = model.get_parameter(self.name).grad
        return None if gradient is None else gradient.movedim(self.dim, 0)


@dataclass(frozen=True, slots=True)
class CoupledChannels:
    """One group of channels that go together.

    Attributes:
        name: The group's.
        count: Of channels.
        weights: Filters of the layers that write them.
        scales: Biases of these layers; weights and biases of the norms behind them.
        statistics: Running means and variances of these norms.
        readers: What the layers that read them multiply them with.
        norms: Of layers that write or read them, the norm behind each, where there is one.
    """

    name: str
    count: int
    weights: tuple[ChannelPart, ...]
    scales: tuple[ChannelPart, ...]
    statistics: tuple[ChannelPart, ...]
    readers: tuple[ChannelPart, ...]
    norms: Mapping[str, str]

    @property
    def written(self) -> tuple[ChannelPart, ...]:
        """What channels are written with."""
        return (*self.weights, *self.scales)

    @property
    def layers(self) -> frozenset[str]:
        """Names of those that write or read them."""
        return frozenset(part.name.rpartition(".")[0] for part in (*self.weights, *self.readers))

    @torch.no_grad()
    def multiply(self, model: nn.Module, parts: Sequence[ChannelPart], factors: Tensor) -> None:
        """Multiply what each channel has in these parts, by factors [channels]."""
        for part in parts:
            rows = part.rows(model)
            part.write(model, rows * factors.to(rows)[:, None])

    @torch.no_grad()
    def zero(self, model: nn.Module, gone: Tensor) -> None:
        """Have channels write nothing and be read by nobody: [channels], true for those."""
        for part in (*self.weights, *self.scales, *self.readers):
            rows = part.rows(model)
            part.write(model, rows.masked_fill(gone.to(rows.device)[:, None], 0.0))

    def length(self, model: nn.Module) -> Tensor:
        """How much each does: the length of its filters times that of what reads it, [channels].

        With norms folded, for behind a norm filters can have any length. What a channel writes can
        be larger and be read by as much less, and the network computes the same: so neither length
        says anything without the other. Relative to the mean of each layer; where several layers
        write or read a channel, the root of their mean square.
        """
        return _relative(self.folded(model)) * _relative(
            [self._folded(part, model) for part in self.readers]
        )

    def folded(self, model: nn.Module) -> tuple[Tensor, ...]:
        """Filters as they are with norms folded, a tensor a layer: [channels, numbers]."""
        return tuple(self._folded(part, model) for part in self.weights)

    def _folded(self, part: ChannelPart, model: nn.Module) -> Tensor:
        """What each channel has of a layer's weights, with the norm behind it folded."""
        owner = part.name.rpartition(".")[0]
        layer, norm = model.get_submodule(owner), self.norms.get(owner)
        weight = model.get_parameter(part.name).detach()
        if norm is not None:
            weight = weight * by_output(layer, norm_factors(model.get_submodule(norm)))
        return part.rows_of(weight)


def _relative(rows: Sequence[Tensor]) -> Tensor:
    """Lengths of channels in layers, each [channels, numbers], over the mean of each layer."""
    lengths = [each.norm(dim=1) for each in rows]
    relative = [each / each.mean().clamp_min(1e-12) for each in lengths]
    return torch.stack(relative).square().mean(0).sqrt()


def find_channels(model: nn.Module, inputs: Tensor) -> tuple[CoupledChannels, ...]:
    """All groups of more than one channel whose layers are convolutions, linear layers and norms.

    Args:
        model: What is trained; it is left as it is.
        inputs: Some of its inputs, [images, ...].

    Raises:
        UsageError: It computes in integers, or has no such group.
    """
    if isinstance(model, QuantizedStudent):
        raise UsageError(
            "channels of networks that compute in integers cannot be zeroed: train"
            " the policy without bits"
        )
    plain, example = copy.deepcopy(model).cpu().eval(), inputs[:1].cpu()
    try:
        traced = trace_network(plain, tuple(example.shape), resolutions=())
        norms = norms_behind(plain, example)
    except AutomlError as error:
        raise UsageError(f"its channels cannot be told apart: {error}") from None
    made = [_channels(group, model, norms) for group in traced.network.groups]
    found = tuple(each for each in made if each is not None)
    if not found:
        raise UsageError(
            "this network has no group of channels that convolutions and linear layers alone write"
            " and read"
        )
    return found


def planned_channels(what: str, model: nn.Module, plan: HookPlan) -> tuple[CoupledChannels, ...]:
    """As `find_channels`, without the channels of layers whose form holds them to their shape.

    Args:
        what: The hook's name.
        model: What is trained.
        plan: Says which layers these are.

    Raises:
        UsageError: As there; or there are no other channels.
    """
    held, found = {**plan.made, **plan.masked}, find_channels(model, plan.inputs)
    free = tuple(group for group in found if not held.keys() & group.layers)
    if not free:
        raise UsageError(
            f"{what} takes channels out, and all of them are written or read by layers that their"
            f" forms hold to their shape ({listed(held)})"
        )
    return free


def _channels(
    group: ChannelGroup, model: nn.Module, norms: Mapping[str, str]
) -> CoupledChannels | None:
    """A group as it lies in the model; None where a layer of it is something else."""
    if group.channels < 2 or group.partition != 1 or group.pairs or group.sizes:
        return None
    weights, scales, statistics = list[ChannelPart](), list[ChannelPart](), list[ChannelPart]()
    for side in group.producers:
        positions, dim = _positions(side), _dim(model.get_submodule(side.module), side.side, "out")
        if positions is None or dim is None:
            return None
        if isinstance(model.get_submodule(side.module), nn.modules.batchnorm._BatchNorm):
            _add_norm(model, side.module, positions, scales, statistics)
            continue
        weights.append(ChannelPart(f"{side.module}.weight", dim, positions))
        if getattr(model.get_submodule(side.module), "bias", None) is not None:
            scales.append(ChannelPart(f"{side.module}.bias", 0, positions))
        if side.module in norms:
            _add_norm(model, norms[side.module], positions, scales, statistics)
    readers = list[ChannelPart]()
    for side in group.consumers:
        positions, dim = _positions(side), _dim(model.get_submodule(side.module), side.side, "in")
        if positions is None or dim is None:
            return None
        readers.append(ChannelPart(f"{side.module}.weight", dim, positions))
    if not weights or not readers:
        return None
    return CoupledChannels(
        group.name,
        group.channels,
        tuple(weights),
        tuple(scales),
        tuple(statistics),
        tuple(readers),
        norms,
    )


def _positions(side: Side) -> Tensor | None:
    """[channels, positions of each]; None where channels have other numbers of them."""
    counts = {len(each) for each in side.positions}
    return torch.tensor(side.positions) if len(counts) == 1 and counts != {0} else None


def _dim(module: Any, side: str, end: str) -> int | None:
    """Dimension of a layer's weight along which a side's channels lie; None where none does."""
    groups = getattr(module, "groups", 1)
    if isinstance(module, nn.modules.batchnorm._BatchNorm) and end == "out":
        return 0
    if isinstance(module, nn.Linear) and side == end:
        return 0 if end == "out" else 1
    if not isinstance(module, nn.modules.conv._ConvNd):
        return None
    if side == "through" and end == "out":
        return 0 if groups == module.out_channels == module.in_channels else None
    if side != end or groups != 1:
        return None
    turned = isinstance(module, nn.modules.conv._ConvTransposeNd)
    return int((end == "in") != turned)


def _add_norm(
    model: nn.Module,
    name: str,
    positions: Tensor,
    scales: list[ChannelPart],
    statistics: list[ChannelPart],
) -> None:
    norm: Any = model.get_submodule(name)
    if norm.weight is not None:
        scales += [
            ChannelPart(f"{name}.weight", 0, positions),
            ChannelPart(f"{name}.bias", 0, positions),
        ]
    if norm.running_mean is not None:
        for each in ("running_mean", "running_var"):
            statistics.append(ChannelPart(f"{name}.{each}", 0, positions))


def without_dead(
    model: nn.Module, inputs: Tensor, held: Collection[str] = ()
) -> tuple[nn.Module, int, int]:
    """A copy without the channels that nobody reads; how many these were, of how many.

    A group keeps one channel. What is given back computes what the model computes.

    Args:
        model: In evaluation mode, without gradients.
        inputs: Some of its inputs, [images, ...].
        held: Layers whose shapes stay.
    """
    traced = trace_network(model, tuple(inputs[:1].shape), resolutions=())
    kept, gone, of = {}, 0, 0
    for group in traced.network.groups:
        of += group.channels
        if any(side.module in held for side in (*group.producers, *group.consumers)):
            continue
        read = _read(group, traced.model)
        if not read.any():
            read[0] = True
        if not read.all():
            kept[group.name] = read.nonzero().flatten()
            gone += group.channels - len(kept[group.name])
    return (
        (smaller(traced.model, traced.network.groups, kept), gone, of) if gone else (model, 0, of)
    )


def _read(group: ChannelGroup, model: nn.Module) -> Tensor:
    """Which of its channels are read, [channels]: all where that cannot be told."""
    read = torch.zeros(group.channels, dtype=torch.bool)
    if group.partition != 1 or group.pairs or group.sizes or not group.consumers:
        return ~read
    for side in group.consumers:
        positions, dim = _positions(side), _dim(model.get_submodule(side.module), side.side, "in")
        if positions is None or dim is None:
            return torch.ones_like(read)
        read |= ChannelPart(f"{side.module}.weight", dim, positions).rows(model).abs().amax(1) > 0
    return read


def chosen(lengths: Tensor, share: float) -> Tensor:
    """The smallest of some lengths, such a share of them, but never all: [channels], booleans."""
    count = min(math.floor(len(lengths) * share + 1e-9), len(lengths) - 1)
    found = torch.zeros(len(lengths), dtype=torch.bool)
    found[lengths.cpu().argsort(stable=True)[:count]] = True
    return found


def checked_share(what: str, share: float, *, whole: bool = False) -> float:
    """A share above 0 and below 1.

    Raises:
        UsageError: It is another number.
    """
    if not (isinstance(share, int | float) and share > 0 and (share <= 1 if whole else share < 1)):
        raise UsageError(f"{what} is a share between 0 and 1, found {share}")
    return float(share)
