"""What a network of floats computes on a target that has fp16 alone, simulated.

Weights are rounded to fp16, and so is what each operation writes; inside an operation sums are of
32 bits. So do TensorRT's kernels, but that a kernel which computes several operations at once
rounds what the last of them writes. Values beyond the range become infinite, as there.
"""

from __future__ import annotations

import copy
from typing import Any, Final

import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from automl.compression.quantization.simulation import QuantizedModel
from automl.network import ForwardTracer, LeafCall

Tensor = torch.Tensor
#: Largest number of fp16.
HALF_RANGE: Final = 65504.0
#: What the network is given, among modules' names.
INPUT: Final = "its input"


class HalfModel(nn.Module):
    """A network of floats that computes what its fp16 file computes.

    Its outputs are for judging, not for training: no gradients.

    Attributes:
        network: A copy, its weights rounded; those beyond the range are clipped to it.
        beyond: Names of the modules, "" for the network itself, and `INPUT`, in which a value was
            beyond the range in any pass so far, and became infinite; the first one first.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.network, self.training = copy.deepcopy(model), model.training
        self.beyond: list[str] = []
        with torch.no_grad():
            for each in (*self.network.parameters(), *self.network.buffers()):
                if each.dtype == torch.float32:
                    each.copy_(each.clamp(-HALF_RANGE, HALF_RANGE).half())

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """What the file puts out, as 32-bit floats."""
        given, layout = tree_flatten((inputs, named))
        inputs, named = tree_unflatten([self._rounded(each) for each in given], layout)
        with _HalfMode(self.network, self.beyond).attached():
            return self.network(*inputs, **named)

    def _rounded(self, value: Any) -> Any:
        if not isinstance(value, Tensor) or value.dtype != torch.float32:
            return value
        rounded = value.half()
        _note(self.beyond, INPUT, value, rounded)
        return rounded.float()


class _HalfMode(ForwardTracer):
    """Rounds what operations write, and notes where that became infinite."""

    def __init__(self, model: nn.Module, beyond: list[str]) -> None:
        super().__init__(model)
        self._beyond = beyond

    def after(
        self, step: LeafCall, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        name = step.module or ("", *step.scope)[-1]
        for each in tree_leaves(output):
            if isinstance(each, Tensor) and each.dtype == torch.float32 and each.numel():
                rounded = each.half()
                _note(self._beyond, name, each, rounded)
                if not _is_expanded(each):
                    each.copy_(rounded)


def _is_expanded(tensor: Tensor) -> bool:
    """Whether several numbers lie in one place: they were rounded before they were repeated."""
    return any(
        stride == 0 and size > 1 for stride, size in zip(tensor.stride(), tensor.shape, strict=True)
    )


def _note(beyond: list[str], name: str, exact: Tensor, rounded: Tensor) -> None:
    if name not in beyond and bool((rounded.isinf() & exact.isfinite()).any()):
        beyond.append(name)


def in_half(model: nn.Module) -> nn.Module:
    """What is judged where the target's floats are fp16; a `QuantizedModel` is judged as it is."""
    return model if isinstance(model, QuantizedModel) else HalfModel(model)
