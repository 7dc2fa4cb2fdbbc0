"""Weights of the layers of a network in training, which hooks mask and losses are of."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import nn

from automl.errors import UsageError
from automl.network import norms_behind
from automl.recovery.base import HookPlan
from automl.recovery.quantised import QuantizedStudent

Tensor = torch.Tensor
#: Classes of layers that have such weights.
LAYERS: Final = (nn.Linear, nn.modules.conv._ConvNd)
#: How the weights of a layer are put into groups.
STRUCTURES: Final = ("filter", "channel", "shape", "depth")


def layer_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Weights of convolutions and linear layers by their names, each once.

    Raises:
        UsageError: There are none.
    """
    found: dict[str, nn.Parameter] = {}
    for name, module in model.named_modules():
        held = module.weight if isinstance(module, LAYERS) else None
        new = not any(held is other for other in found.values())
        if isinstance(held, nn.Parameter) and new:
            found[f"{name}.weight" if name else "weight"] = held
    if not found:
        raise UsageError("the network has no convolution and no linear layer with weights")
    return found


def planned_weights(what: str, model: nn.Module, plan: HookPlan) -> dict[str, nn.Parameter]:
    """Weights of layers that a hook may change: all but those that are made of few numbers.

    Args:
        what: The hook's name.
        model: What is trained.
        plan: Says which layers are made.

    Raises:
        UsageError: There are no others.
    """
    found = layer_weights(model)
    free = {name: each for name, each in found.items() if name.rpartition(".")[0] not in plan.made}
    if not free:
        raise UsageError(
            f"{what} changes single weights, and those of all layers are made of few numbers by"
            f" their forms ({listed(plan.made)})"
        )
    return free


class FoldedWeights:
    """Weights as they are once the norms behind their layers are folded.

    Behind a norm a layer's own weights can have any length: those of norms that were put back have
    the same in all filters. What they come to is that length times the norm's weight over its
    deviation, as it stands.

    Args:
        model: What is trained.
        inputs: Some of its inputs, [images, ...].
    """

    def __init__(self, model: nn.Module, inputs: Tensor) -> None:
        integers = isinstance(model, QuantizedStudent)
        self._norms = {} if integers else layers_before_norms(model, inputs)

    def __call__(self, name: str, values: Tensor) -> Tensor:
        """Values of a layer's weights, times what its norm multiplies each output with.

        Args:
            name: Of the weights.
            values: Of their shape.
        """
        if name not in self._norms:
            return values.detach()
        layer, norm = self._norms[name]
        return values.detach() * by_output(layer, norm_factors(norm))


def layers_before_norms(model: nn.Module, inputs: Tensor) -> dict[str, tuple[nn.Module, nn.Module]]:
    """Layers with a batch norm behind them, and that norm, by the names of the layers' weights.

    Args:
        model: What is trained; it is left as it is.
        inputs: Some of its inputs, [images, ...].

    Raises:
        ModelError: The model cannot be copied, or does not run on them.
    """
    if not has_norms(model):
        return {}
    plain = copy.deepcopy(model).cpu().eval()
    return {
        f"{layer}.weight": (model.get_submodule(layer), model.get_submodule(norm))
        for layer, norm in norms_behind(plain, inputs[:1].cpu()).items()
    }


def norm_factors(norm: Any) -> Tensor:
    """What a batch norm multiplies each channel with, by its running variance: [channels]."""
    scale = norm_scale(norm)
    return scale if norm.weight is None else norm.weight.detach() * scale


def norm_scale(norm: Any) -> Tensor:
    """One over the deviation that a batch norm divides each channel by, as it runs: [channels]."""
    found: Tensor = (norm.running_var + norm.eps).rsqrt()
    return found


def by_output(layer: Any, factors: Tensor) -> Tensor:
    """Factors of outputs, to be multiplied with a layer's weights."""
    ones = (1,) * (layer.weight.dim() - 2)
    if not isinstance(layer, nn.modules.conv._ConvTransposeNd):
        return factors.view(-1, 1, *ones)
    runs = factors.view(layer.groups, 1, -1)  # [inputs, outputs of a run, ...]
    each = runs.expand(-1, layer.in_channels // layer.groups, -1)
    return each.reshape(layer.in_channels, -1, *ones)


def listed(forms: Mapping[str, str]) -> str:
    """Names of forms by layer, each once, for people."""
    return ", ".join(sorted({*forms.values()}))


def has_norms(model: nn.Module) -> bool:
    """Whether there are batch norms in a network."""
    return any(isinstance(each, nn.modules.batchnorm._BatchNorm) for each in model.modules())


def norm_scales(model: nn.Module) -> dict[str, nn.Parameter]:
    """What batch norms multiply with, by the norms' names.

    Raises:
        UsageError: There are none.
    """
    kind = nn.modules.batchnorm._BatchNorm
    found = {
        name: module.weight
        for name, module in model.named_modules()
        if isinstance(module, kind) and isinstance(module.weight, nn.Parameter)
    }
    if not found:
        raise UsageError("the network has no batch norms whose scales could be made smaller")
    return found


def group_lengths(weight: Tensor, structure: str) -> tuple[Tensor, int] | None:
    """Lengths of a layer's groups, which can be multiplied with its weights, and numbers of each.

    None where the layer has no such groups.

    Args:
        weight: [outputs, inputs, ...], or of one dimension for "weights" alone.
        structure: "filter" (an output), "channel" (an input), "shape" (a place of all filters),
            "depth" (all of a layer that writes as many channels as it reads, which a shortcut can
            go around), or "weights" (each by itself).
    """
    if structure == "weights":
        return weight.abs(), 1
    every = range(weight.dim())
    if structure == "channel" and weight.shape[1] == 1:
        return None  # of a depthwise layer these are its filters
    if structure == "depth" and weight.shape[0] != weight.shape[1]:
        return None
    over = {
        "filter": tuple(every)[1:],
        "channel": tuple(each for each in every if each != 1),
        "shape": (0,),
        "depth": tuple(every),
    }[structure]
    numbers = math.prod(weight.shape[each] for each in over)
    return torch.linalg.vector_norm(weight, dim=over, keepdim=True), numbers


def check_structure(what: str, structure: str) -> None:
    """Raise UsageError where there is no such structure."""
    if structure not in STRUCTURES:
        raise UsageError(f"{what} is one of {', '.join(STRUCTURES)}, found {structure!r}")


def largest(weight: Tensor, share: float) -> Tensor:
    """Where the largest magnitudes are, all but such a share of the smallest: booleans."""
    count = math.floor(weight.numel() * share)
    kept = torch.ones(weight.numel(), dtype=torch.bool, device=weight.device)
    kept[weight.detach().abs().flatten().argsort(stable=True)[:count]] = False
    return kept.view_as(weight)


@torch.no_grad()
def masked(weights: Mapping[str, nn.Parameter], kept: Mapping[str, Tensor]) -> None:
    """Zero what does not stay, in place."""
    for name, stays in kept.items():
        weights[name].mul_(stays.to(weights[name].device))


def told_zeros(what: str, weights: Mapping[str, nn.Parameter]) -> str:
    """How many weights are zero, for people."""
    zeros = sum(int((each == 0).sum()) for each in weights.values())
    return (
        f"{what}: {zeros:,} of {sum(each.numel() for each in weights.values()):,} weights are zero"
    )


def refuse_integers(what: str, model: nn.Module) -> None:
    """Raise UsageError where a network computes in integers."""
    if isinstance(model, QuantizedStudent):
        raise UsageError(f"{what} trains floats, and the network computes in integers")


class Exchanged:
    """Weights that stand in a network for one batch, and those that come back after it."""

    def __init__(self) -> None:
        self._before: dict[str, Tensor] = {}

    @torch.no_grad()
    def put(self, weights: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> None:
        """Put values in their place."""
        self._before = {name: weights[name].detach().clone() for name in values}
        for name, value in values.items():
            weights[name].copy_(value)

    @torch.no_grad()
    def back(self, weights: Mapping[str, nn.Parameter]) -> None:
        """Put back what stood there, if anything was exchanged."""
        for name, value in self._before.items():
            weights[name].copy_(value)
        self._before = {}

    def forget(self) -> None:
        """Others have been put there since."""
        self._before = {}
