"""Networks of few bits in training: what a `QuantizedModel` computes, with gradients.

torch shows a tracer what runs beneath its autograd, where nothing that the tracer does has a
gradient. Here autograd is moved: left out around the network, and on for each operation and for
each rounding by itself.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final, cast

import torch
from torch import nn
from torch.func import functional_call

from automl.compression import (
    Codebook,
    FakeQuantizeMode,
    QParams,
    QuantizedModel,
    Source,
    is_per_tensor,
    matrix,
    matrix_of,
    set_matrix,
    weight_of,
)
from automl.errors import ModelError, UsageError
from automl.network import output_tensors, re_estimate_norms, with_norms, without_norms
from automl.policy import Bits, format_bits
from automl.recovery.base import (
    ActivationRounding,
    GivenActivations,
    GivenWeights,
    Levels,
    TrainedQuantizer,
    WeightRounding,
)
from automl.recovery.quantizers.lsq import LearnedSteps
from automl.recovery.sequence import RunningNetwork, begun

Tensor = torch.Tensor
_KEYS: Final = torch._C.DispatchKey
#: How far outputs may be from those of the model at the start, relative to their largest.
_TOLERANCE: Final = 1e-4
#: Values of a tensor that a quantizer is shown, and inputs that they are of.
_SHOWN, _INPUTS = 1 << 14, 32


class QuantizedStudent(nn.Module):
    """A copy of a network of few bits that can be trained: what rounds it has parameters too.

    Training begins at the post-training network: layers whose quantizer has other values than
    calibration chose are rounded to these on what the layers before them write by then (`begun`).
    Norms that are folded stay so, but where weights alone are rounded by a quantizer that gives
    each output channel a scale: there they are put back, take their statistics on the few values
    that the quantizer begins with, and are folded into the scales by `frozen`.

    Args:
        model: From `Compressor.make`, with bits.
        quantizer: How its layers are rounded, those that it does not refuse; the others are by
            `lsq`.
        inputs: Batches, [images, ...] each. On some it is seen that what is computed in training is
            the model; norms take their statistics of all.
        dense: The dense network, from whose weights some quantizers begin; None for none.
        seed: Of what quantizers draw.

    Raises:
        UsageError: The quantizer refuses all layers.
        ModelError: Some operation of the network computes something else in training.
    """

    def __init__(
        self,
        model: QuantizedModel,
        quantizer: TrainedQuantizer,
        inputs: Sequence[Tensor],
        *,
        dense: nn.Module | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        chosen = _chosen(model, quantizer)
        self._normed = not model.qparams and all(each.by_channel for each in chosen.values())
        made = with_norms(model.network, inputs) if self._normed else None
        self.network: nn.Module = copy.deepcopy(model.network) if made is None else made
        self._plan, self._qparams = model.plan, dict(model.qparams)
        self._seen: dict[Source, Tensor] | None = {}
        self._begun = dict(model.weights)
        self.weight_roundings, self.activation_roundings = nn.ModuleDict(), nn.ModuleDict()
        self.eval()
        _check(self, model, inputs[0][:_INPUTS])
        for number, source in enumerate(dict.fromkeys(map(self._root, self._qparams))):
            seen = self._seen.get(source, torch.empty(0))
            shown = GivenActivations(self._qparams[source], seen, seed + len(chosen) + number)
            self.activation_roundings[_key(source)] = quantizer.activations(shown)
        self._begin(model, chosen, inputs, dense, seed)
        self._seen = None
        if self._normed:  # few values a channel write something else than what was given
            re_estimate_norms(self, inputs)
        self.eval()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The network's outputs; called as the network is."""
        with ExitStack() as stack:
            weights = {} if self._seen is not None else self._rounded_weights(stack)
            if not self._qparams:
                return functional_call(self.network, weights, args, kwargs)
            device = args[0].device.type if args and isinstance(args[0], Tensor) else "cpu"
            stack.enter_context(torch.autocast(device, enabled=False))
            stack.enter_context(_Trained(self).attached())
            return functional_call(self.network, weights, args, kwargs)

    def frozen(self) -> QuantizedModel:
        """What was trained, as it is delivered: weights rounded, norms folded, steps as QParams."""
        network = copy.deepcopy(self.network).cpu().requires_grad_(False).eval()
        weights: dict[str, QParams | Codebook] = {}
        for name in self._begun:
            module = network.get_submodule(name)
            values, weights[name] = self._weights_of(name).frozen(matrix(module))
            set_matrix(module, values)
        if self._normed:
            network = _folded(network, weights)
        roots = {source: self._root(source) for source in self._qparams}
        activations = {
            source: self._activations_of(root).frozen() for source, root in roots.items()
        }
        return QuantizedModel(network, self._plan, activations, weights)

    def rounded(self, values: Tensor, source: Source) -> Tensor:
        """What an operation reads or wrote, rounded, with gradients."""
        root = self._root(source)
        if self._seen is None:
            found: Tensor = self._activations_of(root)(values)
            return found
        known = self._qparams[root]
        flat = values.detach().flatten()
        self._seen.setdefault(root, flat[:: max(1, len(flat) // _SHOWN)].clone())
        levels = GivenActivations(known, flat).levels
        return _Straight.apply(values, known.scale, levels)  # type: ignore[no-untyped-call, no-any-return]

    @property
    def unread(self) -> frozenset[str]:
        """Layers whose weights are not made of the numbers that stand in their place."""
        return frozenset(name for name in self._begun if not self._weights_of(name).reads_numbers)

    @property
    def plan_and_qparams(self) -> tuple[Any, Any]:
        """What is rounded as it runs, and where its steps began."""
        return self._plan, self._qparams

    def _begin(
        self,
        model: QuantizedModel,
        chosen: Mapping[str, TrainedQuantizer],
        inputs: Sequence[Tensor],
        dense: nn.Module | None,
        seed: int,
    ) -> None:
        """Make what rounds weights, and set the numbers that training begins with."""
        given = {
            name: self._given(model, name, dense, seed + number)
            for number, name in enumerate(chosen)
        }
        changed = any(
            not math.isclose(self._frozen_step(source), known.scale, rel_tol=1e-6)
            for source, known in self._qparams.items()
        )
        rounded = self._eval_rounded
        running = RunningNetwork(self.network, self._plan, self._qparams, rounded, changed)
        for name, (rounding, numbers) in begun(running, chosen, given, inputs).items():
            self.weight_roundings[_key(name)] = rounding
            set_matrix(self.network.get_submodule(name), numbers)

    def _frozen_step(self, source: Source) -> float:
        return self._activations_of(self._root(source)).frozen().scale

    def _eval_rounded(self, values: Tensor, source: Source) -> Tensor:
        """As what is exported rounds it."""
        found: Tensor = self._activations_of(self._root(source)).eval()(values)
        return found

    def _given(
        self, model: QuantizedModel, name: str, dense: nn.Module | None, seed: int
    ) -> GivenWeights:
        here, there = self.network.get_submodule(name), model.network.get_submodule(name)
        weights, before = matrix(here), matrix(there)
        longer = (weights * before).sum(2, True) / before.square().sum(2, True).clamp_min(1e-30)
        own = None if dense is None else dict(dense.named_modules()).get(name)
        known = getattr(own, "weight", None)
        same = known is not None and known.shape == there.weight.shape
        original = matrix(own) * longer if same else None
        shared = is_per_tensor(model.scheme)
        bits = model.bits[name]
        return GivenWeights(weights, model.weights[name], bits, shared, original, seed)

    def _rounded_weights(self, stack: ExitStack) -> dict[str, Tensor]:
        """Weights by the names of the network's parameters; where outputs are drawn, by hooks."""
        found = {}
        for name in self._begun:
            module: Any = self.network.get_submodule(name)
            rounding = self._weights_of(name)
            numbers = matrix_of(module, module.weight)
            found[f"{name}.weight"] = weight_of(module, rounding(numbers))
            variance = rounding.variance(numbers) if rounding.training else None
            if variance is not None:
                hook = _drawing(rounding, weight_of(module, variance))
                stack.callback(module.register_forward_hook(hook).remove)
        return found

    def _weights_of(self, name: str) -> WeightRounding:
        return cast(WeightRounding, self.weight_roundings[_key(name)])

    def _activations_of(self, root: Source) -> ActivationRounding:
        return cast(ActivationRounding, self.activation_roundings[_key(root)])

    def _root(self, source: Source) -> Source:
        """Whose step an operation has: where it only picks numbers, that of what it picks from."""
        (address, bits), kept = source, self._plan.kept
        while address in kept and (kept[address], bits) in self._qparams:
            address = kept[address]
        return address, bits


def check_quantizer(quantizer: TrainedQuantizer, bits: Iterable[Bits]) -> None:
    """Whether a quantizer rounds any layer of these bits.

    Raises:
        UsageError: It refuses all of them; says why.
    """
    several = list(dict.fromkeys(bits))
    reasons = [quantizer.refusal(each) for each in several]
    if several and all(reasons):
        found = ", ".join(sorted({format_bits(each) for each in several}))
        raise UsageError(f"{reasons[0]}, and the layers have {found}")


def _chosen(model: QuantizedModel, quantizer: TrainedQuantizer) -> dict[str, TrainedQuantizer]:
    """By whom each layer's weights are rounded."""
    bits = {name: model.bits[name] for name in model.weights}
    check_quantizer(quantizer, bits.values())
    usual = LearnedSteps()
    return {name: usual if quantizer.refusal(each) else quantizer for name, each in bits.items()}


def _drawing(rounding: WeightRounding, variance: Tensor) -> Callable[..., Tensor | None]:
    """A hook that draws a layer's outputs, whose means it is given, by its weights' variance."""
    busy = False

    def drawn(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        nonlocal busy
        if busy:
            return None
        parts = {"weight": variance}
        if getattr(module, "bias", None) is not None:
            parts["bias"] = torch.zeros_like(cast(Tensor, module.bias))
        busy = True
        try:
            spread = functional_call(module, parts, (args[0].square(),))
        finally:
            busy = False
        one = rounding.uniform(output.shape, output)
        other = rounding.uniform(output.shape, output)
        normal = (-2 * one.log()).sqrt() * (2 * torch.pi * other).cos()
        found: Tensor = output + (spread.clamp_min(0) + 1e-12).sqrt() * normal
        return found

    return drawn


def _folded(network: nn.Module, weights: dict[str, QParams | Codebook]) -> nn.Module:
    """The network with its norms in the scales of its integers, which are changed with it."""
    before = {name: matrix(network.get_submodule(name)) for name in weights}
    result = without_norms(network).requires_grad_(False).eval()
    for name, known in weights.items():
        assert isinstance(known, QParams)
        module, old = result.get_submodule(name), before[name]
        squares = old.square().sum(2, keepdim=True)
        factor = (matrix(module) * old).sum(2, keepdim=True) / squares.clamp_min(1e-30)
        factor = torch.where(squares > 0, factor, torch.ones_like(factor))
        codes = (old / known.scale).round() * factor.sign()
        scale = (known.scale * factor.abs()).contiguous()
        weights[name] = QParams(scale, known.bits, known.odd)
        set_matrix(module, codes * scale)
    return result


class _Straight(torch.autograd.Function):
    """Rounded as calibration says, with the gradient as it comes."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, step: float, levels: Levels) -> Tensor:
        return levels.nearest(values / step) * step

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None]:
        return slopes[0], None, None


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
