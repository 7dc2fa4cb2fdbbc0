"""Layers of few numbers in training: what a form stores is trained, the layer stays a member."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import torch
from torch import nn
from torch.func import functional_call

from automl.compression import (
    Codebook,
    DenseForm,
    StoredPart,
    kernel_of,
    matrix,
    matrix_of,
    weight_of,
)
from automl.errors import UsageError
from automl.policy import Bits
from automl.recovery.base import GivenWeights
from automl.recovery.quantizers.centroids import TrainedCentroids
from automl.recovery.quantizers.pow2 import Powers

Tensor = torch.Tensor
#: How far what is unpacked may be from what was packed, relative to the largest weight.
_SAME: Final = 1e-4
#: By what share numbers are moved to see whether the layer stays a member.
_MOVED: Final = 0.02
#: Values that a layer without parts may have beside zero.
_MOST: Final = 256


class FormedStudent(nn.Module):
    """A copy of a network that can be trained, some of whose layers are made of few numbers.

    The numbers that a form stores are trained in place of the weights that are made of them, with
    the sum of the gradients of these; where they go stays. Layers of few values have them trained
    (Han et al. 2016, section 3.3), zeros stay. Powers of two take the nearest to what is trained.
    Norms stay folded.

    Args:
        model: Made of a policy, without bits.
        forms: Per layer its form, and the parameter of that.
        dense: The dense network, from whose weights powers of two begin; None for none.

    Raises:
        UsageError: A layer's form stores no numbers that could be trained.
    """

    def __init__(
        self,
        model: nn.Module,
        forms: Mapping[str, tuple[DenseForm[Any], Any]],
        dense: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.network: nn.Module = copy.deepcopy(model)
        modules = dict(self.network.named_modules())
        self._formed = tuple(name for name in forms if name in modules)
        self.parts = nn.ModuleDict()
        originals = {} if dense is None else dict(dense.named_modules())
        for name in self._formed:
            made = _made(name, *forms[name], modules[name], originals.get(name))
            self.parts[_key(name)] = made
        self.eval()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The network's outputs; called as the network is."""
        weights = {f"{name}.weight": self._weight(name) for name in self._formed}
        return functional_call(self.network, weights, args, kwargs)

    def frozen(self) -> nn.Module:
        """The network, its layers made of what was trained."""
        network = copy.deepcopy(self.network).cpu().requires_grad_(False).eval()
        with torch.no_grad():
            for name in self._formed:
                weight = cast(Tensor, network.get_submodule(name).weight)
                weight.copy_(self._weight(name).cpu())
        return network

    def _weight(self, name: str) -> Tensor:
        module: Any = self.network.get_submodule(name)
        made: Tensor = self.parts[_key(name)](matrix_of(module, module.weight))
        return weight_of(module, made)


class TrainedParts(nn.Module):
    """What a form stores of a layer: its floats are trained, where they go stays.

    Attributes:
        shape: Of the layer's kernel.

    Args:
        form, parameter: Which set the layer is in.
        kernel: The layer's: [runs, outputs, inputs, height, width].
        stored: What the form packs of it, some of it floats.
    """

    def __init__(
        self,
        form: DenseForm[Any],
        parameter: Any,
        kernel: Tensor,
        stored: Sequence[StoredPart],
    ) -> None:
        super().__init__()
        self._form, self._parameter, self.shape = form, parameter, tuple(kernel.shape)
        self._names = tuple(f"part{number}" for number in range(len(stored)))
        for name, part in zip(self._names, stored, strict=True):
            if part.bits:
                self.register_buffer(name, part.values.clone())
            else:
                self.register_parameter(name, nn.Parameter(part.values.float()))

    def forward(self, weights: Tensor) -> Tensor:
        """The layer's matrix, [runs, outputs, columns]; the weights themselves are not read."""
        parts = [getattr(self, name) for name in self._names]
        return self._form.unpack(self._parameter, parts, self.shape).float().flatten(2)


def _made(
    name: str, form: DenseForm[Any], parameter: Any, module: nn.Module, dense: nn.Module | None
) -> nn.Module:
    """What makes a layer's weights from what is trained.

    Raises:
        UsageError: Nothing of it can be.
    """
    kernel, weights = kernel_of(module), matrix(module)
    stored = form.pack(parameter, kernel)
    if any(not part.bits for part in stored):
        parts = TrainedParts(form, parameter, kernel, stored)
        if _stays(parts, form, parameter, weights):
            return parts
    entries, indices = weights.unique(return_inverse=True)
    if stored or len(entries) > _MOST:
        raise UsageError(f"{name} has the form {form.name}, whose weights cannot be trained")
    book = Codebook(entries, indices, 8)
    original = getattr(dense, "weight", None)
    same = original is not None and original.shape == cast(Tensor, module.weight).shape
    own = matrix(dense) if same else None
    if form.name == "pow2":  # its values are what it is: the nearest is taken
        return Powers(GivenWeights(weights, book, Bits(int(parameter)), dense=own))
    return TrainedCentroids(GivenWeights(weights, book, Bits(8)), book)


def _stays(parts: TrainedParts, form: DenseForm[Any], parameter: Any, weights: Tensor) -> bool:
    """Whether parts make the layer, and are found again in it when they have moved a little."""
    largest = weights.abs().max().clamp_min(1e-30)
    if (parts(weights).detach() - weights).abs().max() > _SAME * largest:
        return False
    moved, generator = copy.deepcopy(parts), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for each in moved.parameters():
            each.mul_(1 + _MOVED * torch.randn(each.shape, generator=generator))
        made = moved(weights)
        kernel = made.double().view(parts.shape)
        try:
            again = form.pack(parameter, kernel)
        except ValueError:
            return False
        back = form.unpack(parameter, [each.values for each in again], parts.shape)
    return bool((back - kernel).abs().max() <= _SAME * largest)


def _key(name: str) -> str:
    """A name without points, as parameters want it."""
    return "parts of " + name.replace(".", "/")
