"""Integer networks in training: what a `QuantizedModel` computes, with gradients.

torch shows a tracer what runs beneath its autograd, where nothing that the tracer does has a
gradient. Here autograd is moved: left out around the network, and on for each operation and for
each rounding by itself.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import torch
from torch import nn
from torch.func import functional_call

from automl.compression import (
    FakeQuantizeMode,
    QParams,
    QuantizedModel,
    Source,
    highest,
    is_per_tensor,
    matrix,
    round_to,
    set_matrix,
    weight_of,
)
from automl.errors import ModelError, UsageError
from automl.network import output_tensors
from automl.recovery.base import Levels, TrainedQuantizer

Tensor = torch.Tensor
_KEYS: Final = torch._C.DispatchKey
#: How far outputs may be from those of the model at the start, relative to their largest.
_TOLERANCE: Final = 1e-4


class QuantizedStudent(nn.Module):
    """A copy of an integer network that can be trained: its steps are parameters too.

    Its outputs are those of the model until it is trained. Norms that are folded stay so.

    Args:
        model: From `Compressor.make`, with bits.
        quantizer: What gradients do where values are rounded.
        inputs: Some, on which it is seen that the outputs are those of the model.

    Raises:
        UsageError: Bits of weights alone, whose values are no integers.
        ModelError: Some operation of the network computes something else in training.
    """

    def __init__(self, model: QuantizedModel, quantizer: TrainedQuantizer, inputs: Tensor) -> None:
        super().__init__()
        self.network = copy.deepcopy(model.network)
        self._plan, self._quantizer = model.plan, quantizer
        self._weights, self._qparams = _integers(model), dict(model.qparams)
        per_tensor = is_per_tensor(model.scheme)
        self.steps = nn.ParameterDict()
        for name, each in self._weights.items():
            scale = each.scale[:1, :1] if per_tensor else each.scale
            self.steps[_key(name)] = nn.Parameter(scale.clone())
        for source in self._qparams:
            root = self._root(source)
            if _key(root) not in self.steps:
                self.steps[_key(root)] = nn.Parameter(torch.tensor(self._qparams[root].scale))
        self.eval()
        _check(self, model, inputs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The network's outputs; called as the network is."""
        weights = {f"{name}.weight": self._rounded_weight(name) for name in self._weights}
        device = args[0].device.type if args and isinstance(args[0], Tensor) else "cpu"
        with torch.autocast(device, enabled=False), _Trained(self).attached():
            return functional_call(self.network, weights, args, kwargs)

    def frozen(self) -> QuantizedModel:
        """What was trained, as it is delivered: weights rounded, steps as its QParams."""
        network = copy.deepcopy(self.network).cpu().requires_grad_(False).eval()
        weights, activations = {}, {}
        for name, each in self._weights.items():
            module = network.get_submodule(name)
            scale = self._step(name).detach().cpu().expand_as(each.scale).contiguous()
            weights[name] = QParams(scale, each.bits)
            set_matrix(module, round_to(matrix(module), weights[name]).float() * scale)
        for source, known in self._qparams.items():
            step = float(self._step(self._root(source)).detach())
            activations[source] = replace(known, scale=step)
        return QuantizedModel(network, self._plan, activations, weights)

    def rounded(self, values: Tensor, source: Source) -> Tensor:
        """What an operation reads or wrote, rounded, with gradients."""
        known = self._qparams[source]
        levels = Levels(known.low - known.zero_point, known.high - known.zero_point)
        sharing = max(1, values.numel() // max(1, len(values)))
        return self._quantizer(values, self._step(self._root(source)), levels, sharing)

    @property
    def plan_and_qparams(self) -> tuple[Any, Any]:
        """What is rounded as it runs, and where its steps began."""
        return self._plan, self._qparams

    def _rounded_weight(self, name: str) -> Tensor:
        module: Any = self.network.get_submodule(name)
        known, step = self._weights[name], self._step(name)
        top = highest(known.bits)
        runs, outputs, _ = known.scale.shape
        columns = module.weight.numel() // (runs * outputs)
        sharing = module.weight.numel() // step.numel()
        spread = weight_of(module, step.expand(runs, outputs, columns))
        return self._quantizer(module.weight, spread, Levels(-top, top, known.bits == 1), sharing)

    def _step(self, what: str | Source) -> Tensor:
        step: Tensor = self.steps[_key(what)]
        return step

    def _root(self, source: Source) -> Source:
        """Whose step an operation has: where it only picks numbers, that of what it picks from."""
        (address, bits), kept = source, self._plan.kept
        while address in kept and (kept[address], bits) in self._qparams:
            address = kept[address]
        return address, bits


class _Trained(FakeQuantizeMode):
    """Rounds with gradients."""

    def __init__(self, student: QuantizedStudent) -> None:
        super().__init__(student.network, *student.plan_and_qparams)
        self._student = student
        self._include = torch._C._dispatch_tls_local_include_set()
        outside = torch._C._dispatch_tls_local_exclude_set()
        for key in (_KEYS.AutogradFunctionality, _KEYS.ADInplaceOrView):
            outside = outside | torch._C.DispatchKeySet(key)
        inside = torch._C._dispatch_tls_local_exclude_set()
        for key in (_KEYS.Python, _KEYS.PythonTLSSnapshot):
            inside = inside | torch._C.DispatchKeySet(key)
        self._outside, self._inside = outside, inside

    @contextmanager
    def attached(self) -> Iterator[None]:
        grad = torch.is_grad_enabled()
        with super().attached(), torch.set_grad_enabled(grad):
            include = torch._C._dispatch_tls_local_include_set()
            with torch._C._ForceDispatchKeyGuard(include, self._outside):
                yield

    @contextmanager
    def _autograd(self) -> Iterator[None]:
        with torch._C._ForceDispatchKeyGuard(self._include, self._inside):
            yield

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if not self._suspended and self._scope and _is_composite(func):
            with self:  # its parts have addresses
                return func._op_dk(_KEYS.CompositeImplicitAutograd, *args, **(kwargs or {}))
        return super().__torch_dispatch__(func, types, args, kwargs)

    def run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with self._autograd():
            if self._suspended:
                return func(*args, **kwargs)
            if func._schema.is_mutable and isinstance(args[0], Tensor):
                func(copied := args[0].clone(), *args[1:], **kwargs)
                return args[0].copy_(copied)
            found = func(*args, **kwargs)
            # what is rounded in place is not to be what the operation keeps for its gradient
            whole = isinstance(found, Tensor) and not found._is_view()
            return found.clone() if whole and found.requires_grad else found

    def _quietly(self, call: Any, *args: Any) -> Any:
        with self._autograd():
            return super()._quietly(call, *args)

    def rounded(self, values: Tensor, source: Source, out: Tensor | None) -> Tensor:
        found = self._student.rounded(values if out is None else values.clone(), source)
        return found if out is None else out.copy_(found)


def _is_composite(func: Any) -> bool:
    return bool(
        torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), _KEYS.CompositeImplicitAutograd)
    )


def _integers(model: QuantizedModel) -> dict[str, QParams]:
    found = {}
    for name, each in model.weights.items():
        if not isinstance(each, QParams):
            raise UsageError(f"{name} has bits of weights alone, and only integers are trained")
        found[name] = each
    return found


def _check(student: QuantizedStudent, model: QuantizedModel, inputs: Tensor) -> None:
    """Raise ModelError where outputs are not those of the model."""
    with torch.enable_grad():
        found = output_tensors(student(inputs))
    for one, other in zip(found, output_tensors(model(inputs)), strict=True):
        gap = (one.detach() - other).abs().max()
        if not gap <= _TOLERANCE * other.abs().max().clamp_min(1e-12):
            raise ModelError(
                "the network computes something else in training than rounded, by"
                f" {float(gap):.2g}: its bits cannot be trained"
            )


def _key(what: str | Source) -> str:
    """A name without points, as parameters want it."""
    if isinstance(what, str):
        return "weight of " + what.replace(".", "/")
    (module, number), bits = what
    return f"{module.replace('.', '/')} {number} to {bits} bits"
