"""What layer a module is, found by running it alone on random inputs."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from automl.network.forward_tracer import base_kind
from automl.network.own_forward import OWN_FORWARD, LayerFunction, layer_function

Tensor = torch.Tensor
#: Outputs may differ by this share of their scale: sums are taken in another order.
_ROUNDING: Final = 1e-5
#: The layer that calls a function: by the dimensions of its weight, and whether it is transposed.
_PLAIN: Final[Mapping[tuple[int, bool], type[nn.Module]]] = {
    (2, False): nn.Linear,
    (3, False): nn.Conv1d,
    (3, True): nn.ConvTranspose1d,
    (4, False): nn.Conv2d,
    (4, True): nn.ConvTranspose2d,
    (5, False): nn.Conv3d,
    (5, True): nn.ConvTranspose3d,
}
_REFUSALS: Final = (RuntimeError, TypeError, ValueError, IndexError, AttributeError, KeyError)


@dataclass(frozen=True, slots=True)
class Visit:
    """How a module is called in its network: with one tensor, giving one.

    Attributes:
        module: It.
        args, kwargs: What it is called with.
        shape, dtype: Of the tensor among them.
    """

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    shape: torch.Size
    dtype: torch.dtype

    def run(self, values: Tensor, module: nn.Module | None = None) -> Any:
        """What the module, or another in its place, gives for these values."""
        args, kwargs = tree_map(
            lambda leaf: values if isinstance(leaf, Tensor) else leaf, (self.args, self.kwargs)
        )
        with torch.no_grad():
            return (module or self.module)(*args, **kwargs)


@dataclass(frozen=True, slots=True)
class _Run:
    """One run of a module alone.

    Attributes:
        values: What it was given.
        output: What it gave.
        calls: Of layers' functions, with what each gave.
        constants: What batch norms were called with, their input left out.
    """

    values: Tensor
    output: Tensor
    calls: tuple[tuple[LayerFunction, Tensor], ...]
    constants: tuple[Any, ...]


class _Calls(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[LayerFunction, Tensor]] = []
        self.constants: list[Any] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        call = layer_function(func, args, kwargs or {})
        if call is not None:
            self.found.append((call, output))
        if func is F.batch_norm:
            self.constants += [*args[1:], *(kwargs or {}).values()]
        return output


def plain_form(visit: Visit) -> nn.Module | None:
    """A module that computes the same as the visited one and is a known layer; None if none is.

    What comes out has weights of its own.
    """
    generator = torch.Generator().manual_seed(0)
    first, second = (_run(visit, visit.shape, generator) for _ in range(2))
    if first is None or second is None:
        return None
    grown = [(*visit.shape[:2], *(size + by for size in visit.shape[2:])) for by in (1, 3, 4)]
    others = [_run(visit, shape, generator) for shape in grown if len(shape) > 2]
    runs = [first, second, *(run for run in others if run is not None)]
    if base_kind(visit.module) == "batch_norm":
        return _norm(visit, runs)
    if first.calls:
        return _layer(visit, runs) or _linear(visit, runs)
    return _linear(visit, runs) or _scale(visit, runs)


def _run(visit: Visit, shape: Sequence[int], generator: torch.Generator) -> _Run | None:
    values = torch.randn(tuple(shape), generator=generator).to(visit.dtype)
    try:
        with _Calls() as calls:
            output = visit.run(values)
    except _REFUSALS:
        return None  # not at this size, or not alone
    if not isinstance(output, Tensor):
        return None
    return _Run(values, output, tuple(calls.found), tuple(calls.constants))


def _layer(visit: Visit, runs: Sequence[_Run]) -> nn.Module | None:
    """The layer whose function is called; within the module's forward if that does more."""
    if any(len(run.calls) != 1 for run in runs):
        return None
    calls = [run.calls[0][0] for run in runs]
    first, paddings = calls[0], [call.geometry.get("padding") for call in calls]
    constant = all(_same_layer(first, call) for call in calls)
    if not constant or torch.equal(first.input, calls[1].input):
        return None
    around = [_padding_around(run) for run in runs]
    fixed = all(padding == paddings[0] for padding in paddings)
    straight = fixed and around[0] is not None and all(each == around[0] for each in around)
    geometry = dict(first.geometry)
    if straight and any(around[0] or ()):
        straight = isinstance(paddings[0], tuple) and "output_padding" not in geometry
        both = zip(around[0] or (), paddings[0] or (), strict=True) if straight else ()
        geometry["padding"] = tuple(map(sum, both))
    after = _scale_after(runs) if straight else None
    if after is not None:
        made: nn.Module | None = _made(_PLAIN, first, geometry, *after)
        if made is not None and _computes(visit, made, runs):
            return made
    nothing = (0,) * (first.weight.dim() - 2)
    own = first.geometry | ({} if fixed else {"padding": nothing})
    return _within(visit, runs, first, own)


def _same_layer(one: LayerFunction, other: LayerFunction) -> bool:
    if (one.bias is None) != (other.bias is None) or not torch.equal(one.weight, other.weight):
        return False
    if one.bias is not None and not torch.equal(one.bias, other.bias):  # type: ignore[arg-type]
        return False
    return all(
        other.geometry[name] == value for name, value in one.geometry.items() if name != "padding"
    )


def _padding_around(run: _Run) -> tuple[int, ...] | None:
    """How far zeros were laid around the maps before the call; None where it was anything else."""
    read = run.calls[0][0].input
    if read is run.values:
        return (0,) * (read.dim() - 2)
    if read.dim() != run.values.dim() or read.dim() < 3 or read.shape[:2] != run.values.shape[:2]:
        return None
    wider = [after - before for after, before in zip(read.shape, run.values.shape, strict=True)]
    if any(extent < 0 or extent % 2 for extent in wider):
        return None
    amounts = tuple(extent // 2 for extent in wider[2:])
    padded = F.pad(run.values, [each for each in reversed(amounts) for _ in range(2)])
    return amounts if torch.equal(read, padded) else None


def _scale_after(runs: Sequence[_Run]) -> tuple[Tensor | None, Tensor | None] | None:
    """Factor and shift per channel from what the call gave to what the module gave.

    (None, None) where it is the same, None where it is anything else.
    """
    if all(run.calls[0][1] is run.output for run in runs):
        return None, None
    written, output = runs[0].calls[0][1], runs[0].output
    if written.shape != output.shape:
        return None
    last = runs[0].calls[0][0].weight.dim() == 2
    rows, found = (_channels_first(each.double(), last) for each in (written, output))
    centred = rows - rows.mean(1, keepdim=True)
    factor = (centred * found).sum(1) / centred.square().sum(1)
    factor = torch.where((factor - 1).abs() < 1e-6, 1.0, factor)
    shift = (found - factor[:, None] * rows).mean(1)
    for run in runs:
        before, after = (_channels_first(e.double(), last) for e in (run.calls[0][1], run.output))
        if not _near(factor[:, None] * before + shift[:, None], after):
            return None
    return factor, shift


def _channels_first(values: Tensor, last: bool) -> Tensor:
    return (values.movedim(-1, 0) if last else values.transpose(0, 1)).flatten(1)


def _made(
    classes: Mapping[Any, type[nn.Module]],
    call: LayerFunction,
    geometry: Mapping[str, Any],
    factor: Tensor | None = None,
    shift: Tensor | None = None,
) -> Any:
    """A layer with the weights of a call, its outputs scaled and shifted; None of unknown kinds."""
    transposed = "output_padding" in call.geometry
    plain = _PLAIN.get((call.weight.dim(), transposed))
    if plain is None:
        return None
    weight = call.weight.detach().clone().contiguous()
    bias = None if call.bias is None else call.bias.detach().clone()
    groups = geometry.get("groups", 1)
    inputs = weight.shape[0] if transposed else weight.shape[1] * groups
    outputs = weight.shape[1] * groups if transposed else weight.shape[0]
    if factor is not None and shift is not None:
        along = [1] * (weight.dim() - 1)
        if transposed:
            parts = zip(weight.double().chunk(groups), factor.chunk(groups), strict=True)
            scaled = torch.cat([part * each.view(1, -1, *along[1:]) for part, each in parts])
        else:
            scaled = weight.double() * factor.view(-1, *along)
        bias = (shift if bias is None else bias.double() * factor + shift).to(weight.dtype)
        weight = scaled.to(weight.dtype)
    kind: Any = plain if classes is _PLAIN else classes[plain]
    options: dict[str, Any] = {"bias": bias is not None, "device": "meta", **geometry}
    kernel: tuple[Any, ...] = () if plain is nn.Linear else (tuple(weight.shape[2:]),)
    layer: Any = kind(inputs, outputs, *kernel, **options)
    layer.weight = nn.Parameter(weight, requires_grad=False)
    layer.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
    return layer.eval()


def _within(
    visit: Visit, runs: Sequence[_Run], call: LayerFunction, geometry: Mapping[str, Any]
) -> nn.Module | None:
    """The call's layer inside the module's forward, whose own weights are let go where unused."""
    layer = _made(OWN_FORWARD, call, geometry)
    if layer is None:
        return None
    for bare in (True, False):
        layer.around = copy.deepcopy(visit.module)
        if bare:
            for name, value in list(layer.around._parameters.items()):
                if value is not None:  # its shape is all that may be asked for
                    del layer.around._parameters[name]
                    setattr(layer.around, name, torch.empty_like(value, device="meta"))
        if _computes(visit, layer, runs):
            found: nn.Module = layer
            return found
    return None


def _linear(visit: Visit, runs: Sequence[_Run]) -> nn.Module | None:
    """A linear layer, of a module with a matrix that is an affine map of its input's last extent.

    So are adapters beside a linear layer, and products written as such.
    """
    given, got = runs[0].values, runs[0].output
    if given.dim() < 2 or given.shape[:-1] != got.shape[:-1]:
        return None
    sizes = {given.shape[-1], got.shape[-1]}
    if not any(each.dim() == 2 and set(each.shape) == sizes for each in visit.module.parameters()):
        return None
    unit = torch.eye(given.shape[-1], dtype=torch.float64).view(
        *[1] * (given.dim() - 2), given.shape[-1], given.shape[-1]
    )
    found = _exactly(visit, (unit, torch.zeros_like(unit)))
    if found is None or any(each.shape[:-1] != unit.shape[:-1] for each in found):
        return None
    shift = found[1].reshape(-1, got.shape[-1])[0]
    weight = (found[0].reshape(-1, got.shape[-1]) - shift).T
    call = LayerFunction(given, weight.to(given.dtype), shift.to(given.dtype), {})
    made: nn.Module = _made(_PLAIN, call, {})
    return made if _computes(visit, made, runs) else None


def _norm(visit: Visit, runs: Sequence[_Run]) -> nn.Module | None:
    """A plain batch norm, of a class derived from one that computes no more.

    One that normalises with its own constants, and then does more, is known as it is.
    """
    norm: Any = visit.module
    kinds: tuple[Any, ...] = (nn.BatchNorm2d, nn.BatchNorm3d)
    kind = next((each for each in kinds if isinstance(norm, each)), nn.BatchNorm1d)
    plain = kind(norm.num_features, norm.eps, affine=norm.weight is not None)
    missing = plain.load_state_dict(norm.state_dict(), strict=False).missing_keys
    if not missing and _computes(visit, plain.requires_grad_(False).eval(), runs):
        return plain
    own = norm.weight is None or any(each is norm.weight for each in runs[0].constants)
    return None if own else _scale(visit, runs)


def _scale(visit: Visit, runs: Sequence[_Run]) -> nn.Module | None:
    """A batch norm, of a module with constants that scales and shifts each channel of maps."""
    given = runs[0].values
    if given.dim() not in (2, 3, 4, 5) or given.shape != runs[0].output.shape or given.shape[1] < 2:
        return None
    channels = given.shape[1]
    held = (*visit.module.parameters(), *visit.module.buffers())
    if not any(each.numel() == channels for each in held):
        return None
    zeros = torch.zeros(given.shape, dtype=torch.float64)
    found = _exactly(visit, (zeros, torch.ones_like(zeros)))
    if found is None or any(each.shape != given.shape for each in found):
        return None
    lines = [_channels_first(each, last=False) for each in (found[0], found[1] - found[0])]
    if any(not _near(line, line[:, :1].expand_as(line)) for line in lines):
        return None
    if given.dim() == 3 and all(_near(line, line[:1].expand_as(line)) for line in lines):
        return None  # the same everywhere: which extent the channels are is not told
    kind: Any = {4: nn.BatchNorm2d, 5: nn.BatchNorm3d}.get(given.dim(), nn.BatchNorm1d)
    norm = kind(channels, eps=0.0)
    for name, line in zip(("bias", "weight"), lines, strict=True):
        values = line[:, 0].to(given.dtype).clone()
        setattr(norm, name, nn.Parameter(values, requires_grad=False))
    made: nn.Module = norm.eval()
    return made if _computes(visit, made, runs) else None


def _exactly(visit: Visit, inputs: Sequence[Tensor]) -> list[Tensor] | None:
    """What a copy of the module in double gives; None where it does not run so."""
    try:
        double = copy.deepcopy(visit.module).double()
        found = [visit.run(values, double) for values in inputs]
    except _REFUSALS:
        return None
    return found if all(isinstance(each, Tensor) for each in found) else None


def _computes(visit: Visit, made: nn.Module, runs: Sequence[_Run]) -> bool:
    """Whether a module, called in its place, gives what the visited one gave."""
    try:
        found = [visit.run(run.values, made) for run in runs]
    except _REFUSALS:
        return False
    return all(_near(each, run.output) for each, run in zip(found, runs, strict=True))


def _near(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape or found.device != expected.device:
        return False
    scale = float(expected.abs().max()) if expected.numel() else 0.0
    return bool(((found - expected).abs() <= _ROUNDING * scale).all())
