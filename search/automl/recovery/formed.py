"""Layers of few numbers in training: what a form stores is trained, the layer stays a member."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
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
    noted_forms,
    weight_of,
)
from automl.errors import UsageError
from automl.network import with_norms, without_norms
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
    Of a mask the layer's own weights are trained: what is zero stays so, whatever is done to them.
    Norms of layers that are made of few numbers stay folded, as a number for each output would lead
    out of the form.

    Args:
        model: Made of a policy, without bits.
        forms: Per layer its form, and the parameter of that.
        dense: The dense network, from whose weights powers of two begin; None for none.
        inputs: Batches, [images, ...] each, on which the norms of other layers take their
            statistics; None: all norms stay folded.

    Raises:
        UsageError: A layer's form stores no numbers that could be trained.
        DataError: There are no inputs.
    """

    def __init__(
        self,
        model: nn.Module,
        forms: Mapping[str, tuple[DenseForm[Any], Any]],
        dense: nn.Module | None = None,
        inputs: Iterable[Tensor] | None = None,
    ) -> None:
        super().__init__()
        modules = dict(model.named_modules())
        self._formed = tuple(name for name in forms if name in modules)
        parts, originals = {}, {} if dense is None else dict(dense.named_modules())
        for name in self._formed:
            parts[name] = _made(name, *forms[name], modules[name], originals.get(name))
        named = {name: forms[name][0].name for name in parts}
        zeros = {name for name, part in parts.items() if isinstance(part, MaskedWeights)}
        #: Forms' names by layer: of those of which some weights stay zero, and of the others.
        self.masked = {name: form for name, form in named.items() if name in zeros}
        self.made = {name: form for name, form in named.items() if name not in zeros}
        self._normed = inputs is not None
        self.network: nn.Module = (
            copy.deepcopy(model) if inputs is None else with_norms(model, inputs, self.made)
        )
        self.parts = nn.ModuleDict({_key(name): part for name, part in parts.items()})
        self.eval()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The network's outputs; called as the network is."""
        return functional_call(self.network, self.weights(), args, kwargs)

    def weights(self) -> dict[str, Tensor]:
        """What forms make of layers' weights, by their names in the network, with gradients."""
        return {f"{name}.weight": self._weight(name) for name in self._formed}

    def frozen(self) -> nn.Module:
        """The network, its layers made of what was trained."""
        network = copy.deepcopy(self.network).cpu().requires_grad_(False).eval()
        with torch.no_grad():
            for name in self._formed:
                weight = cast(Tensor, network.get_submodule(name).weight)
                weight.copy_(self._weight(name).cpu())
        return without_norms(network) if self._normed else network

    @torch.no_grad()
    def zero_masked(self) -> None:
        """Zero what masks leave out in the layers' own weights, where something has drawn them."""
        for name in self.masked:
            cast(Tensor, self.network.get_submodule(name).weight).copy_(self._weight(name))

    def _weight(self, name: str) -> Tensor:
        module: Any = self.network.get_submodule(name)
        made: Tensor = self.parts[_key(name)](matrix_of(module, module.weight))
        return weight_of(module, made)


def student_of_floats(
    model: nn.Module, inputs: Iterable[Tensor], dense: nn.Module | None = None
) -> nn.Module:
    """What is trained of a network without bits: its norms are back, its forms stay what they are.

    Args:
        model: Made of a policy.
        inputs: Batches, [images, ...] each, on which norms take their statistics.
        dense: The dense network, from whose weights powers of two begin; None for none.

    Raises:
        UsageError: A layer's form stores no numbers that could be trained.
        DataError: There are no inputs.
        ModelError: The model cannot be copied.
    """
    forms = noted_forms(model)
    return FormedStudent(model, forms, dense, inputs) if forms else with_norms(model, inputs)


class MaskedWeights(nn.Module):
    """A layer's own weights, of which some stay zero; those have no gradient.

    Args:
        weights: [runs, outputs, columns].
    """

    stays: Tensor

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.register_buffer("stays", weights != 0)

    def forward(self, weights: Tensor) -> Tensor:
        """As they are used: [runs, outputs, columns]."""
        return weights * self.stays


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
    if stored and form.takes_bits and _is_mask(form, parameter, kernel):
        return MaskedWeights(weights)
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


def _is_mask(form: DenseForm[Any], parameter: Any, kernel: Tensor) -> bool:
    """Whether a layer is a member with any numbers in the place of those that are not zero."""
    drawn = torch.randn(kernel.shape, generator=torch.Generator().manual_seed(0)).double()
    other = torch.where(kernel == 0, 0.0, drawn)
    stored = [each.values for each in form.pack(parameter, other)]
    return torch.equal(form.unpack(parameter, stored, tuple(kernel.shape)).double(), other)


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
