"""Surgery: making a network physically smaller, or masking what a smaller one would lack."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from automl.network.constants import axis_of
from automl.network.forward_tracer import base_kind
from automl.network.held import held_tensor, places_of
from automl.network.layers import ChannelGroup, Side
from automl.network.norms import NORMS, KeptNorm, is_stream, norm_channels, slice_norm
from automl.network.over_channels import KeptStatistics, is_over, parse_over
from automl.network.own_forward import OwnForward
from automl.network.removal import remove
from automl.network.sizes import is_size, parse_size, set_sizes

Tensor = torch.Tensor
#: Per channel group, which of its channels stay (ascending indices).
Kept = Mapping[str, Tensor]


def kept_positions(
    model: nn.Module, groups: tuple[ChannelGroup, ...], kept: Kept
) -> dict[tuple[str, str], Tensor]:
    """Positions that stay along each side which loses some: (module, side) -> ascending indices."""
    masks: dict[tuple[str, str], Tensor] = {}
    for group in groups:
        if group.name not in kept:
            continue
        gone = torch.ones(group.channels, dtype=torch.bool)
        gone[kept[group.name]] = False
        for side in (*group.producers, *group.consumers, *group.sizes):
            mask = masks.get((side.module, side.side))
            if mask is None:
                extent = side_length(model, side.module, side.side)
                mask = masks[side.module, side.side] = torch.ones(extent, dtype=torch.bool)
            mask[positions_of(side, gone)] = False
    return {key: mask.nonzero().flatten() for key, mask in masks.items()}


def positions_of(side: Side, chosen: Tensor) -> Tensor:
    """Positions along a side that belong to the chosen channels (a boolean per channel)."""
    indices = chosen.nonzero().flatten().tolist()
    return torch.tensor([p for index in indices for p in side.positions[index]], dtype=torch.long)


def side_length(model: nn.Module, name: str, side: str) -> int:
    """How many positions a side of a module, or of a constant, has."""
    axis = axis_of(side)
    if axis is not None:
        return int(held_tensor(model, name).size(axis))
    if is_size(side):
        return parse_size(side)[2]
    if is_over(side):
        return parse_over(side)[2]
    layer: Any = model.get_submodule(name)
    if isinstance(layer, nn.Linear):
        return int(layer.in_features if side == "in" else layer.out_features)
    if base_kind(layer) in ("batch_norm", *NORMS):
        return norm_channels(layer)
    if isinstance(layer, nn.PReLU):
        return int(layer.num_parameters)
    return int(layer.out_channels if side == "out" else layer.in_channels)


def cut(
    model: nn.Module, groups: tuple[ChannelGroup, ...], kept: Kept
) -> dict[tuple[str, str], Tensor]:
    """Cut the channels that do not stay out of the model's tensors, in place.

    Weights that several layers hold stay one where all of them lose the same. Returns which
    positions stay along each side that loses some.
    """
    tied: dict[int, list[Any]] = {}
    for layer in model.modules():
        if base_kind(layer) and layer._parameters.get("weight") is not None:
            tied.setdefault(id(layer.weight), []).append(layer)
    sizes: dict[str, dict[int, dict[int, tuple[int, Tensor]]]] = {}
    found = kept_positions(model, groups, kept)
    for (name, side), positions in found.items():
        if is_over(side):
            continue  # what is left is all that there is
        axis = axis_of(side)
        if axis is not None:
            _slice_constant(model, name, axis, positions)
            continue
        if is_size(side):
            call, dim, extent = parse_size(side)
            sizes.setdefault(name, {}).setdefault(call, {})[dim] = extent, positions
            continue
        slice_side(model.get_submodule(name), side, positions)
    for name, stays in sizes.items():
        set_sizes(model.get_submodule(name), stays)
    for first, *rest in tied.values():
        for other in rest:
            if torch.equal(first.weight, other.weight):
                other.weight = first.weight
    return found


def slice_side(module: nn.Module, side: str, positions: Tensor) -> None:
    """Keep these positions of a layer's side, in place."""
    if base_kind(module) in ("batch_norm", "prelu", *NORMS):
        _slice_all(module, positions)
    elif side == "through":
        _slice_depthwise(module, positions)
    elif side == "out":
        _slice_out(module, positions)
    else:
        _slice_in(module, positions)


def replace_layer(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module in a layer's place, in place; in that of the layer alone, not what is around."""
    layer = model.get_submodule(name)
    if isinstance(layer, OwnForward):
        layer.replace(module)
        return
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)


def smaller(
    model: nn.Module,
    groups: tuple[ChannelGroup, ...],
    kept: Kept,
    removed: frozenset[str] = frozenset(),
    *,
    shared: bool = False,
    replaced: Mapping[Tensor, Tensor] = MappingProxyType({}),
) -> nn.Module:
    """A copy of the model without the removed blocks and channels.

    Args:
        model: Left as it is.
        groups: Its channel groups.
        kept: Per group that loses channels, which stay.
        removed: Blocks that are left out.
        shared: Whether weights that lose nothing are the model's own: for a look that changes
            nothing.
        replaced: Parameters of the model, and the values that the copy has in their place.
    """
    result = _copied(model, shared, replaced)
    positions = cut(result, groups, kept)
    remove(result, removed, positions)
    return result


def mask(
    model: nn.Module,
    groups: tuple[ChannelGroup, ...],
    kept: Kept,
    removed: frozenset[str] = frozenset(),
    *,
    shared: bool = False,
) -> nn.Module:
    """A copy of the model in which consumers read nothing from channels that do not stay.

    Channels that are multiplied with each other are zero where they do not stay. Norms that take
    their statistics over all channels take them over those that stay.

    With `shared`, weights that are not masked are the model's own.
    """
    result = _copied(model, shared)
    silent = {side.module for group in groups if group.pairs for side in group.producers}
    found = kept_positions(result, groups, kept)
    for (name, side), positions in found.items():
        if side == "out" and name in silent:
            _silence(result.get_submodule(name), positions)
        if is_over(side):
            _note_statistic(result.get_submodule(name), side, positions)
        if side not in ("in", "through"):
            continue
        module: Any = result.get_submodule(name)
        if side == "through":
            if is_stream(module):
                module.forward = KeptNorm(module, positions)
            continue
        runs = getattr(module, "groups", 1)
        gone = torch.ones(side_length(result, name, "in"), dtype=torch.bool)
        gone[positions] = False
        weight = module.weight.detach().clone()
        if base_kind(module) == "conv_transpose":
            weight[gone] = 0
        else:
            weight[:, gone[: gone.numel() // runs]] = 0
        _replace(module, "weight", weight)
    remove(result, removed, found, cut=False)
    return result


def _note_statistic(module: nn.Module, side: str, positions: Tensor) -> None:
    """A statistic of the module's own is taken over these channels alone."""
    before = vars(module).get("forward")
    if not isinstance(before, KeptStatistics):
        before = module.forward = KeptStatistics(module, {})
    call, dim, _ = parse_over(side)
    before.kept.setdefault(call, {})[dim] = positions


def _silence(module: Any, positions: Tensor) -> None:
    """Only these outputs of a layer are other than zero."""
    weight = module.weight.detach()
    turned = base_kind(module) == "conv_transpose"
    runs = module.groups if turned else 1
    shape = (runs, 1, -1) if turned else (1, -1)
    stays = weight.new_zeros(weight.shape[1] * runs if turned else weight.shape[0])
    stays[positions] = 1
    factors = stays.view(*shape, *[1] * (weight.dim() - len(shape) + 1))
    _replace(module, "weight", (weight.unflatten(0, (runs, -1)) * factors).flatten(0, 1))
    if module.bias is not None:
        _replace(module, "bias", module.bias.detach() * stays)


def _copied(
    model: nn.Module, shared: bool, replaced: Mapping[Tensor, Tensor] = MappingProxyType({})
) -> nn.Module:
    memo = {id(part): part for part in (*model.parameters(), *model.buffers())} if shared else {}
    for part, values in replaced.items():
        own = torch.empty_like(part).copy_(values)  # in the memory layout of what it replaces
        memo[id(part)] = nn.Parameter(own, requires_grad=part.requires_grad)
    return copy.deepcopy(model, memo)


def _replace(module: Any, name: str, value: Tensor) -> None:
    old = getattr(module, name)
    if isinstance(old, nn.Parameter):
        value = nn.Parameter(value.contiguous(), requires_grad=old.requires_grad)
    setattr(module, name, value)


def _slice_constant(model: nn.Module, name: str, axis: int, positions: Tensor) -> None:
    """Cut a parameter or buffer wherever it is held."""
    old = held_tensor(model, name)
    first, *rest = (place for place in places_of(model) if place.tensor is old)
    left = old.detach().index_select(axis, positions).contiguous()
    if isinstance(old, nn.Parameter):
        left = nn.Parameter(left, requires_grad=old.requires_grad)
    for place in (first, *rest):
        place.hold(left)


def _slice_all(module: Any, positions: Tensor) -> None:
    for name in ("weight", "bias", "running_mean", "running_var"):
        if getattr(module, name, None) is not None:
            _replace(module, name, getattr(module, name).detach()[positions].clone())
    if isinstance(module, nn.PReLU):
        module.num_parameters = positions.numel()
    else:
        slice_norm(module, positions)


def _slice_depthwise(module: Any, positions: Tensor) -> None:
    times = module.out_channels // module.groups
    out = (positions[:, None] * times + torch.arange(times)).flatten()
    rows = positions if base_kind(module) == "conv_transpose" else out
    _replace(module, "weight", module.weight.detach()[rows].clone())
    if module.bias is not None:
        _replace(module, "bias", module.bias.detach()[out].clone())
    module.in_channels = module.groups = positions.numel()
    module.out_channels = out.numel()


def _slice_out(module: Any, positions: Tensor) -> None:
    weight = module.weight.detach()
    if base_kind(module) == "conv_transpose":
        runs = module.groups
        within = positions[: positions.numel() // runs]
        weight = weight[:, within]
    else:
        weight = weight[positions]
    _replace(module, "weight", weight.clone())
    if module.bias is not None:
        _replace(module, "bias", module.bias.detach()[positions].clone())
    if isinstance(module, nn.Linear):
        module.out_features = positions.numel()
    else:
        module.out_channels = positions.numel()


def _slice_in(module: Any, positions: Tensor) -> None:
    weight = module.weight.detach()
    if base_kind(module) == "conv_transpose":
        weight = weight[positions]
    else:
        within = positions[: positions.numel() // getattr(module, "groups", 1)]
        weight = weight[:, within]
    _replace(module, "weight", weight.clone())
    if isinstance(module, nn.Linear):
        module.in_features = positions.numel()
    else:
        module.in_channels = positions.numel()
