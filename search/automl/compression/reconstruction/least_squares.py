"""The finishing step: weights refitted layer by layer on the compressed network's own inputs.

In network order, each layer is solved by least squares towards the dense network's value at the
same place. A layer that ends in a residual addition aims at the dense sum minus the compressed
network's own shortcut, so each block also corrects the error that it inherited. One forward pass
of the compressed network over the calibration images; no labels, no gradients.

Where a policy has bits, a layer is rounded as soon as it is solved, with the moments of the inputs
that it was solved on, and the next layers see its rounded values: what they read is rounded with
ranges found on this pass, so that each layer corrects the rounding that came before it as it does
the pruning.

Source: the sequential reconstruction of He et al. 2017 (Channel Pruning), with its correction of
the shortcut, and the reconstruction past a ReLU of Zhang et al. 2015 (Accelerating Very Deep
Convolutional Networks). Differs: biases and depthwise layers are refitted too, weights are held to
where the elimination left them by a small ridge, and a ReLU only forgives what both networks have
below zero.
"""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from automl.compression.layer_matrix import input_rows, matrix, output_rows, places, set_matrix
from automl.compression.quantization.base import Quantizer
from automl.compression.quantization.codebook import Codebook
from automl.compression.quantization.qparams import QParams
from automl.compression.quantization.rounding import corrected_bias
from automl.compression.quantization.simulation import (
    CalibrationMode,
    QuantizedModel,
    Source,
    fake_quantize,
)
from automl.compression.reconstruction.base import FULL_REFIT, Candidate, RefitSettings
from automl.compression.statistics import INPUT, WEIGHTED, gram, with_ones
from automl.errors import QuantizationError
from automl.network import FLOAT_BITS, Address, LeafCall, Trace, addresses
from automl.policy import Bits

Tensor = torch.Tensor
#: Rows of which the moments are taken where the features hold none.
_ROWS = 20_000
#: Bits that lose less than the noise of rounded inputs costs a refit of all layers.
_FINE = 8


@dataclass(frozen=True, slots=True)
class LeastSquares:
    """Refits each layer on the compressed network's own inputs towards the dense network's values.

    Attributes:
        ridge: Pull towards the weights before, relative to the mean second moment of the inputs.
        rounded_ridge: The same of networks with bits: the noise of rounded inputs shrinks what
            least squares finds, all outputs alike, and the pull holds against it.
    """

    ridge: float = 3e-3
    rounded_ridge: float = 3e-2

    def finish(
        self, candidate: Candidate, quantizer: Quantizer, settings: RefitSettings = FULL_REFIT
    ) -> nn.Module:
        """As `Reconstruction.finish`: in place, rounded on the way where the plan has bits."""
        plan, model = candidate.plan, candidate.model
        ridge = self.rounded_ridge if plan.bits else self.ridge
        refitter = _Refitter(candidate, quantizer, settings, ridge)
        with refitter.attached():
            model(refitter.images)
        if not plan.bits:
            return model
        return QuantizedModel(model, plan, refitter.qparams, refitter.weights)


@dataclass(frozen=True, slots=True)
class _Shortcut:
    """The other operand of the addition that a layer ends in.

    Attributes:
        address: What wrote it.
        source: What its QParams are found by, where the addition rounds it as it reads.
    """

    address: Address
    source: Source | None


class _Refitter(CalibrationMode):
    def __init__(
        self, candidate: Candidate, quantizer: Quantizer, settings: RefitSettings, ridge: float
    ) -> None:
        features, plan = candidate.features, candidate.plan
        kept, removed = candidate.kept_outputs, candidate.removed
        self.images = features.images[: settings.images]
        super().__init__(candidate.model, plan, self.images, how=quantizer.ranges)
        self.weights: dict[str, QParams | Codebook] = {}
        self._features, self._kept, self._settings = features, kept, settings
        self._quantizer, self._ridge, self._finishes = quantizer, ridge, candidate.finishes
        changed = kept or removed or not plan.bits
        coarse = any(min(bits.weights, bits.activations) < _FINE for bits in plan.bits.values())
        self._refits = settings.rounds > 0 and bool(changed or coarse)
        self._shortcuts = self._find_shortcuts(candidate.trace, removed)
        self._waiting = Counter(shortcut.address for shortcut in self._shortcuts.values())
        self._captured = {INPUT: self.images} if INPUT in self._waiting else {}

    def before(self, step: LeafCall, module: nn.Module, args: tuple[Any, ...]) -> None:
        name = step.module
        if step.op not in WEIGHTED:
            return
        shortcut = self._shortcut(name, module) if name in self._features.targets else None
        bits = self.plan.bits.get(name, Bits())
        solved = shortcut is not None and self._refits
        rounded, finish = bits.weights < FLOAT_BITS, self._finishes.get(name)
        if not (solved or rounded or finish):
            return
        chosen = self._places(name, module, args[0])
        wide = with_ones(input_rows(module, args[0], chosen))
        moments = gram(wide).double() / wide.shape[1]
        if shortcut is not None and solved:
            self._solve(name, module, wide, moments.clone(), shortcut)
        if finish:
            finish(module, moments)
        if rounded:
            self._round(name, module, moments, bits)

    def after(
        self, step: LeafCall, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        super().after(step, func, args, kwargs, output)
        if step.address in self._waiting and isinstance(output, Tensor):
            self._captured[step.address] = output

    def _find_shortcuts(self, trace: Trace, removed: frozenset[str]) -> dict[str, _Shortcut]:
        written = addresses(trace)
        calls = {call.step.address: call for call in trace.calls}
        passed = {}  # what leaves a removed block is what entered it
        for entered, left in filter(None, map(trace.passage, removed)):
            passed[left] = entered
        result = {}
        inside = tuple(f"{name}." for name in removed)
        for name, aim in self._features.aims.items():
            value = aim.shortcut
            if value is None or (inside and name.startswith(inside)):
                continue
            read = self.plan.inputs.get(aim.target)
            source = read[calls[aim.target].inputs.index(value)] if read else None
            while value in passed:
                value = passed[value]
            result[name] = _Shortcut(written.get(value, INPUT), source)
        return result

    def _shortcut(self, name: str, module: nn.Module) -> Tensor | float | None:
        """The compressed network's other operand of the addition; None if it did not run yet."""
        shortcut = self._shortcuts.get(name)
        if shortcut is None:
            return 0.0
        address = shortcut.address
        if address not in self._captured:
            return None
        last = isinstance(module, nn.Linear)
        rows = output_rows(self._captured[address], self._chosen(name), last)
        self._waiting[address] -= 1
        if not self._waiting[address]:
            del self._captured[address]
        return (
            rows if shortcut.source is None else fake_quantize(rows, self.qparams[shortcut.source])
        )

    def _target(self, name: str) -> Tensor:
        chosen = self._chosen(name)
        per_image = self._features.chosen[name].shape[1]
        target: Tensor = self._features.targets[name].unflatten(0, (-1, per_image))
        target = target[: chosen.shape[0], : chosen.shape[1]].flatten(0, 1)
        if name in self._kept:
            target = target[:, self._kept[name]]
        return target

    def _chosen(self, name: str) -> Tensor:
        return self._settings.excerpt.places(self._features.chosen[name])

    def _places(self, name: str, module: nn.Module, values: Tensor) -> Tensor:
        """The sampled places; of layers that the features do not know, some of each image."""
        if name in self._features.targets:
            return self._chosen(name)
        images = values.shape[0]
        total = places(module, tuple(values.shape), images)
        count = max(1, min(_ROWS // images, total))
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        return torch.rand(images, total, generator=generator).topk(count, dim=1).indices

    def _rounds(self, name: str) -> int:
        return self._settings.rounds if self._features.aims[name].rectified else 1

    def _solve(
        self, name: str, module: Any, wide: Tensor, moments: Tensor, shortcut: Tensor | float
    ) -> None:
        runs, rows, _ = wide.shape
        before = torch.cat([matrix(module), module.bias.detach().view(runs, -1, 1)], 2)
        before = before.transpose(1, 2).double()
        strength = moments.diagonal(dim1=1, dim2=2)[:, :-1].mean(1) * self._ridge
        pull = strength.clamp_min(1e-9).view(-1, 1, 1)
        moments.diagonal(dim1=1, dim2=2).add_(pull.squeeze(2))
        factor, failed = torch.linalg.cholesky_ex(moments)
        if failed.any():  # inputs that are not finite: the layer stays as it is
            return
        target = self._target(name)
        aim, solved = target, before
        for left in reversed(range(self._rounds(name))):
            side = (aim - shortcut).view(rows, runs, -1).transpose(0, 1)
            cross = (wide.transpose(1, 2) @ side).double() / rows
            solved = torch.cholesky_solve(cross + pull * before, factor)
            if left:
                found = (wide @ solved.to(wide.dtype)).transpose(0, 1).flatten(1) + shortcut
                aim = torch.where(target > 0, target, found.clamp_max(0))
        weights = solved.transpose(1, 2).to(wide.dtype)
        set_matrix(module, weights[:, :, :-1])
        with torch.no_grad():
            module.bias.copy_(weights[:, :, -1].flatten())

    def _round(self, name: str, module: Any, moments: Tensor, bits: Bits) -> None:
        weights = matrix(module)
        for what, numbers in (("weights", weights), ("activations", moments)):
            if not torch.isfinite(numbers).all():
                raise QuantizationError(f"{name}: {what} that are not finite cannot be quantised")
        rounded, self.weights[name] = self._quantizer.round(
            weights, moments, bits, refine=self._settings.refine
        )
        set_matrix(module, rounded)
        if self._quantizer.correct_bias:
            module.bias.copy_(corrected_bias(weights, rounded, moments, module.bias))
