"""One block whose rounding is learned: weights go a step up or down where the block gains by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch.func import functional_call

from automl.compression.layer_matrix import matrix, weight_of
from automl.compression.quantization.qparams import QParams, centred
from automl.compression.quantization.simulation import (
    FakeQuantizeMode,
    QuantizedModel,
    Source,
    fake_quantize,
)
from automl.compression.reconstruction.rounding_units import UnitValues

Tensor = torch.Tensor
#: Times that the outputs' curvature is estimated, each from signs that are drawn.
_DRAWS: Final = 2
#: Parts that the changes of a round are halved into before the round is given up.
_HALVES: Final = 8


@dataclass(frozen=True, slots=True)
class Learning:
    """How rounding is learned.

    Attributes:
        rounds: Of gradients, at most.
        drop: Share of the activations that are not rounded where gradients are taken.
        seed: Of what is drawn.
    """

    rounds: int
    drop: float
    seed: int


@dataclass(frozen=True, slots=True)
class Before:
    """A layer before it was rounded.

    Attributes:
        weights: [runs, outputs, columns].
        moments: Of what it reads, with the ones: [runs, columns + 1, columns + 1].
        corrected: Whether its bias takes out the mean error of rounding.
    """

    weights: Tensor
    moments: Tensor
    corrected: bool


class RoundedLayer:
    """A layer whose integers change by one step at most.

    Args:
        module: The layer, rounded.
        before: What it was.
        qparams: Of its integers.
    """

    def __init__(self, module: Any, before: Before, qparams: QParams) -> None:
        self.module, self._qparams = module, qparams
        self._first = (matrix(module) / qparams.scale).round()
        #: What runs in a layer's place has one bias, in its last part.
        self._bias = None if module.bias is None else module.bias.detach().clone()
        mean = before.moments[:, :-1, -1:] / before.moments[:, -1:, -1:]
        self._mean = mean.float() if before.corrected else torch.zeros_like(mean).float()
        spread = centred(before.moments, before.weights.shape[2])
        self._spread = spread.diagonal(dim1=1, dim2=2).clamp_min(0).unsqueeze(1).float()
        self.integers = self._first.clone()
        #: Second derivative of the block's error by each output of the layer, [runs, outputs, 1].
        self.bend = torch.zeros_like(qparams.scale)

    @property
    def values(self) -> Tensor:
        """What the integers stand for: [runs, outputs, columns]."""
        return self.integers * self._qparams.scale

    def tensors(self, values: Tensor) -> dict[str, Tensor]:
        """Weight and bias, where there is one, as the module has them, of other values."""
        found = {"weight": weight_of(self.module, values)}
        if self._bias is not None:
            shift = (self._first * self._qparams.scale - values) @ self._mean
            found["bias"] = self._bias + shift.flatten()
        return found

    def changes(self, slope: Tensor) -> tuple[Tensor, Tensor]:
        """The change of each output's best weight, by the gradient, and what it is to bring.

        Returns:
            Steps [runs, outputs, columns], one of them not zero in an output at most, and their
            gains [runs, outputs, 1], positive where there is any.
        """
        scale, highest = self._qparams.scale, self._qparams.highest
        steps = -slope.sign()
        moved = self.integers + steps
        able = (moved.abs() <= highest) & ((moved - self._first).abs() <= 1)
        gains = slope.abs() * scale - self.bend * self._spread * scale.square() / 2
        gains = torch.where(able, gains, -torch.inf)
        best = gains.argmax(2, keepdim=True)
        chosen = torch.zeros_like(steps).scatter_(2, best, steps.gather(2, best))
        return chosen, gains.gather(2, best)

    def write(self) -> None:
        """The integers into the layer."""
        with torch.no_grad():
            for name, tensor in self.tensors(self.values).items():
                getattr(self.module, name).copy_(tensor)


class _Learner(FakeQuantizeMode):
    """Rounds with gradients that go straight through, and a share of the values not at all."""

    def __init__(self, model: QuantizedModel, drop: float, generator: torch.Generator) -> None:
        super().__init__(model.network, model.plan, model.qparams)
        self._drop, self._generator = drop, generator

    @contextmanager
    def attached(self) -> Iterator[None]:
        with super().attached(), torch.enable_grad():
            yield

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func.overloadpacket is torch.ops.aten.detach:  # of autograd, for what it keeps
            return func(*args, **(kwargs or {}))
        return super().__torch_dispatch__(func, types, args, kwargs)

    def rounded(self, values: Tensor, source: Source, out: Tensor | None) -> Tensor:
        with torch.no_grad():
            found = fake_quantize(values, self.qparams[source])
            if self._drop:
                drawn = torch.rand(values.shape, generator=self._generator)
                found = torch.where(drawn < self._drop, values, found)
            if out is not None:
                return out.copy_(found)
            change = found - values
        return values + change


def learn(
    model: QuantizedModel,
    name: str,
    layers: Mapping[str, RoundedLayer],
    values: UnitValues,
    learning: Learning,
) -> None:
    """Round a block's layers anew, where that brings it nearer to the dense one.

    In each round the gradient of the block's error says which weight of each output gains most by
    one step up or down; those that gain are changed together, and fewer of them where that makes
    the error larger. What comes out has to be better on images held out too.

    Args:
        model: The network, rounded; its layers are changed in place.
        name: Of the block.
        layers: Those of the block that are rounded anew.
        values: What the block reads and is to write.
        learning: How.
    """
    block = _Block(model, name, layers, values, learning)
    held = values.error(model, held=True)
    block.estimate()
    least = values.error(model)
    for _ in range(learning.rounds):
        error = block.improved(least)
        if error is None:
            break
        least = error
    if not values.error(model, held=True) < held:
        block.restore()


class _Block:
    def __init__(
        self,
        model: QuantizedModel,
        name: str,
        layers: Mapping[str, RoundedLayer],
        values: UnitValues,
        learning: Learning,
    ) -> None:
        self._model, self._layers, self._values = model, layers, values
        self._inside = {each: each.removeprefix(f"{name}.") for each in layers}
        self._module = model.network.get_submodule(name)
        self._generator = torch.Generator().manual_seed(learning.seed)
        self._learner = _Learner(model, learning.drop, self._generator)
        self._first = {each: layer.integers for each, layer in layers.items()}

    def estimate(self) -> None:
        """The second derivatives of the block's error by the layers' outputs, from drawn signs.

        Source: Hutchinson 1989; each output's own curvature, mixed ones left out.
        """
        with ExitStack() as stack:
            written: dict[str, Tensor] = {}
            for each, layer in self._layers.items():
                keep = _keeper(written, each)
                stack.callback(layer.module.register_forward_hook(keep).remove)
            for _ in range(_DRAWS):
                for found, _ in self._passes({}):
                    signs = torch.randint(0, 2, found.shape, generator=self._generator) * 2.0 - 1
                    slopes = torch.autograd.grad((found * signs).sum(), list(written.values()))
                    for each, slope in zip(written, slopes, strict=True):
                        self._add(self._layers[each], slope)

    def _add(self, layer: RoundedLayer, slope: Tensor) -> None:
        channels = 1 if slope.dim() > 2 and not _is_linear(layer.module) else -1
        summed = slope.square().movedim(channels, 0).flatten(1).sum(1)
        layer.bend += 2 * summed.view_as(layer.bend) / (_DRAWS * self._values.learned_numbers)

    def improved(self, least: float) -> float | None:
        """The error after one round of changes; None where none makes it smaller."""
        slopes = self._slopes()
        found = {name: layer.changes(slopes[name]) for name, layer in self._layers.items()}
        gains = torch.cat([gain.flatten() for _, gain in found.values()])
        able = gains[gains > 0].sort(descending=True).values
        count = len(able)
        before = {name: layer.integers for name, layer in self._layers.items()}
        for _ in range(_HALVES):
            if not count:
                break
            enough = able[count - 1]
            for name, layer in self._layers.items():
                steps, gain = found[name]
                layer.integers = before[name] + torch.where(gain >= enough, steps, 0.0)
                layer.write()
            error = self._values.error(self._model)
            if error < least:
                return error
            count //= 2
        self._write(before)
        return None

    def restore(self) -> None:
        """The integers that the layers had at first."""
        self._write(self._first)

    def _write(self, integers: Mapping[str, Tensor]) -> None:
        for name, layer in self._layers.items():
            layer.integers = integers[name]
            layer.write()

    def _slopes(self) -> dict[str, Tensor]:
        """Gradients of the block's error on the images that are learned from."""
        values = {name: layer.values.requires_grad_() for name, layer in self._layers.items()}
        total = {name: torch.zeros_like(each) for name, each in values.items()}
        for found, target in self._passes(values):
            loss = (found - target).square().sum() / self._values.learned_numbers
            slopes = torch.autograd.grad(loss, list(values.values()))
            for name, slope in zip(values, slopes, strict=True):
                total[name] += slope
        return total

    def _passes(self, values: Mapping[str, Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """What the block writes and is to write, part by part, with gradients."""
        values = values or {
            name: layer.values.requires_grad_() for name, layer in self._layers.items()
        }
        for reads, target in self._values.parts():
            with self._learner.attached():
                named = {
                    f"{self._inside[name]}.{each}": tensor
                    for name, layer in self._layers.items()
                    for each, tensor in layer.tensors(values[name]).items()
                }
                found = functional_call(self._module, named, (reads.clone(),))
            yield found, target


def _keeper(kept: dict[str, Tensor], name: str) -> Callable[[Any, Any, Tensor], None]:
    def keep(module: Any, args: Any, output: Tensor) -> None:
        kept[name] = output

    return keep


def _is_linear(module: Any) -> bool:
    return isinstance(module, torch.nn.Linear)
