"""Batch norms put back where they were folded, for training, and folded again for delivery.

Plain SGD takes a deep network whose norms are folded apart where it trains the one with norms:
nothing else holds the scale of what its layers write.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import torch
from torch import nn

from automl.errors import DataError, ModelError
from automl.network.fold import (
    FoldedNorm,
    copied,
    fold_norm,
    foldable,
    output_norms,
    scale_outputs,
)
from automl.network.trace import record

Tensor = torch.Tensor
#: Classes of batch norms by how many dimensions they read.
_KINDS: Final[Mapping[int, Any]] = {
    2: nn.BatchNorm1d,
    3: nn.BatchNorm1d,
    4: nn.BatchNorm2d,
    5: nn.BatchNorm3d,
}
#: Attribute of a network whose norms are back: name of each -> (layer, what stood in its place).
_NOTE: Final = "_restored_norms"
#: A channel whose weights are so much smaller than the layer's others stays as small as it is.
_DEAD: Final = 1e-4


def with_norms(
    model: nn.Module, batches: Iterable[Tensor], folded: Collection[str] = ()
) -> nn.Module:
    """A copy whose folded batch norms are back, and which computes what the model computes.

    Each channel is normalised by the mean and variance that its layer writes on the given inputs,
    and scaled back by these; its weights get the length that they had before folding. None is
    put back where a layer is no longer alone before its norm (it is merged, or left out). A network
    that had no norms is copied. The copy is in evaluation mode, and has gradients.

    Args:
        model: A traced model's, or one made of it.
        batches: Inputs, [images, ...] each.
        folded: Layers whose norms stay folded.

    Raises:
        ModelError: The model cannot be copied.
        DataError: There are no inputs.
    """
    result = copied(model)
    example: Tensor | None = None

    def noted() -> Iterator[Tensor]:
        nonlocal example
        for inputs in batches:
            example = inputs[:1] if example is None else example
            yield inputs

    found = norm_moments(result, noted())
    if example is None:
        raise DataError("there are no inputs to take the statistics of norms on")
    places: dict[str, Any] = {name: result.get_submodule(name) for name in found}
    for name, moments in found.items():
        norm = _KINDS[moments.dim](moments.channels, places[name].eps, places[name].momentum)
        _put(result, name, norm.eval().requires_grad_(False).to(moments.like))
    pairs = {norm: layer for layer, norm in foldable(record(result, example, labelled=False))}
    restored: dict[str, tuple[str, nn.Module]] = {}
    for name, place in places.items():
        if name in pairs and pairs[name] not in folded:
            layer = result.get_submodule(pairs[name])
            _normalise(layer, result.get_submodule(name), place.weight_norm, found[name])
            restored[name] = (pairs[name], place)
        else:
            _put(result, name, place)
    setattr(result, _NOTE, restored)
    return result.requires_grad_(True)


def without_norms(model: nn.Module) -> nn.Module:
    """A copy whose norms that were put back are folded again: what `with_norms` was given, trained.

    It computes what the model computes in evaluation mode, and is in that mode, without gradients.

    Args:
        model: From `with_norms`, or a copy of it.

    Raises:
        ModelError: It is not, or cannot be copied.
    """
    restored = getattr(model, _NOTE, None)
    if restored is None:
        raise ModelError(
            f"{type(model).__name__} is not a network whose norms were put back: give what"
            " trainable() made, out of what it is wrapped in"
        )
    result = copied(model)
    for norm, (layer, place) in restored.items():
        fold_norm(result, layer, norm)
        _put(result, norm, place)
    delattr(result, _NOTE)
    return result


def norms_behind(model: nn.Module, example: Tensor) -> dict[str, str]:
    """Batch norms that alone read what a layer writes: the layer's name -> the norm's.

    Args:
        model: Any; it is left as it is.
        example: One input, [1, ...].

    Raises:
        ModelError: The model cannot be copied, or does not run on it.
    """
    return dict(foldable(record(copied(model), example, labelled=False)))


class NormMoments:
    """Sums over what the place of a norm reads, float64 [channels].

    Args:
        first: What it reads of some inputs; not taken in yet.
    """

    def __init__(self, first: Tensor) -> None:
        self.dim, self.channels = first.dim(), int(first.shape[1])
        self.like = first[:0]
        self.count = 0
        self._sum = torch.zeros(self.channels, dtype=torch.float64)
        self._squares = torch.zeros(self.channels, dtype=torch.float64)

    def add(self, values: Tensor) -> None:
        """Take in what was read of some inputs."""
        rows = values.detach().double().transpose(0, 1).flatten(1).cpu()
        self.count += rows.shape[1]
        self._sum += rows.sum(1)
        self._squares += rows.square().sum(1)

    @property
    def mean(self) -> Tensor:
        """Over images and places."""
        return self._sum / self.count

    @property
    def variance(self) -> Tensor:
        """Over images and places."""
        return (self._squares / self.count - self.mean.square()).clamp_min(0)


@torch.no_grad()
def norm_moments(model: nn.Module, batches: Iterable[Tensor]) -> dict[str, NormMoments]:
    """What the places of folded norms read, by their names.

    Args:
        model: In evaluation mode.
        batches: Inputs, [images, ...] each.
    """
    found: dict[str, NormMoments] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def seen(_: nn.Module, args: tuple[Any, ...]) -> None:
            values = args[0]
            if isinstance(values, Tensor) and values.is_floating_point() and values.dim() in _KINDS:
                found.setdefault(name, NormMoments(values)).add(values)

        return seen

    handles = [
        module.register_forward_pre_hook(watch(name))
        for name, module in model.named_modules()
        if isinstance(module, FoldedNorm)
    ]
    try:
        for inputs in batches:
            model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found


def match_norms(
    model: nn.Module,
    dense: nn.Module,
    batches: Iterable[Tensor],
    student: nn.Module | None = None,
) -> int:
    """Have norms write what the dense network's write in mean and variance, in place.

    Norms of other widths than the dense network's keep what they scale to; see `adapt_norms`.

    Args:
        model: From `with_norms`.
        dense: The traced model that it was made of.
        batches: Inputs of both, [images, ...] each; read twice.
        student: What runs the model with weights that it makes; None where it runs itself.

    Returns:
        How many norms were matched.
    """
    return adapt_norms(model, norm_moments(dense, batches), batches, student=student)


@torch.no_grad()
def adapt_norms(
    model: nn.Module,
    wanted: Mapping[str, NormMoments],
    batches: Iterable[Tensor],
    kept: Mapping[str, Tensor] = MappingProxyType({}),
    student: nn.Module | None = None,
) -> int:
    """Have norms write means and variances that are given, in place.

    Their statistics are then taken again on the inputs, batch by batch, each layer reading what the
    layers before it give by now. Norms of other widths than what is wanted of them keep what they
    scale to.

    Args:
        model: From `with_norms`.
        wanted: From `norm_moments` of the dense network.
        batches: Inputs, [images, ...] each.
        kept: Per layer of the dense network that has lost outputs, which stay.
        student: What runs the model with weights that it makes; None where it runs itself.

    Returns:
        How many norms were matched.
    """
    matched, restored = 0, getattr(model, _NOTE, {})
    norms = [model.get_submodule(name) for name in restored]
    for name, (layer, _) in restored.items():
        norm: Any = model.get_submodule(name)
        if name not in wanted:
            continue
        mean, variance = wanted[name].mean, wanted[name].variance
        if layer in kept:
            mean, variance = mean[kept[layer]], variance[kept[layer]]
        if len(mean) == norm.num_features:
            norm.weight.copy_(norm.weight.sign() * (variance + norm.eps).sqrt())
            norm.bias.copy_(mean)
            matched += 1
    take_again(model if student is None else student, norms, batches)
    return matched


@torch.no_grad()
def take_again(model: nn.Module, norms: Sequence[Any], batches: Iterable[Tensor]) -> None:
    """The statistics of norms, as means over batches, in place.

    Args:
        model: In evaluation mode.
        norms: Of it.
        batches: Inputs, [images, ...] each.
    """
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    try:
        for inputs in batches:
            model(inputs)
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.eval()


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)


@torch.no_grad()
def _normalise(layer: Any, norm: Any, weight_norm: float, moments: NormMoments) -> None:
    """Weights of the length that they had, and a norm that changes nothing of what is written."""
    lengths = output_norms(layer).cpu()
    factors = torch.where(lengths > _DEAD * lengths.mean(), weight_norm / lengths, 1.0)
    bias = 0.0 if layer.bias is None else layer.bias.detach().double().cpu()
    scale_outputs(layer, factors.to(layer.weight.device))
    if layer.bias is not None:  # the norm takes it off again
        layer.bias = nn.Parameter(torch.zeros_like(layer.bias), requires_grad=False)
    norm.running_mean.copy_(factors * (moments.mean - bias))
    norm.running_var.copy_(factors.square() * moments.variance)
    norm.weight.copy_((norm.running_var.double().cpu() + norm.eps).sqrt() / factors)
    norm.bias.copy_(moments.mean)
