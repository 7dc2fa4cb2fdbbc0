"""The finishing step: weights refitted layer by layer on the compressed network's own inputs.

In network order, each layer is solved by least squares towards the dense network's value at the
same place. A layer that ends in a residual addition aims at the dense sum minus the compressed
network's own shortcut, so each block also corrects the error that it inherited. One forward pass
of the compressed network over the calibration images; no labels, no gradients.

Source: the sequential reconstruction of He et al. 2017 (Channel Pruning), with the shortcut's
correction of its section 3.3. Differs: biases and depthwise layers are refitted too, and weights
are held to where the elimination left them by a small ridge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from automl.compression.features import INPUT, WEIGHTED, Features, second_moments
from automl.compression.linear_form import input_rows, matrix, output_rows, set_matrix
from automl.network.trace import Trace, addresses
from automl.network.walk import Address, Step, Walk

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class RefitSettings:
    """Knobs of the refit.

    Attributes:
        ridge: Pull towards the weights before, relative to the mean second moment of the inputs.
        images: At most this many calibration images.
    """

    ridge: float = 3e-3
    images: int = 2_000


def refit(
    model: nn.Module,
    trace: Trace,
    features: Features,
    kept_outputs: Mapping[str, Tensor],
    removed: frozenset[str] = frozenset(),
    settings: RefitSettings | None = None,
) -> None:
    """Refit a compressed network in place.

    Args:
        model: The compressed network: physically smaller, blocks removed.
        trace: The dense network's recorded pass.
        features: The dense network's features at the compressed network's resolution.
        kept_outputs: Per layer whose outputs were cut, which stay.
        removed: Blocks that were left out.
        settings: Knobs.
    """
    chosen = settings or RefitSettings()
    walker = _Refitter(model, trace, features, kept_outputs, removed, chosen)
    walker.capture_input(features.images[: chosen.images])
    with walker.attached():
        model(features.images[: chosen.images])


class _Refitter(Walk):
    def __init__(
        self,
        model: nn.Module,
        trace: Trace,
        features: Features,
        kept_outputs: Mapping[str, Tensor],
        removed: frozenset[str],
        settings: RefitSettings,
    ) -> None:
        super().__init__(model)
        self._features, self._kept, self._settings = features, kept_outputs, settings
        self._shortcuts = self._find_shortcuts(trace, removed)
        self._waiting: dict[Address, int] = {}
        for address in self._shortcuts.values():
            self._waiting[address] = self._waiting.get(address, 0) + 1
        self._captured: dict[Address, Tensor] = {}

    def capture_input(self, images: Tensor) -> None:
        if INPUT in self._waiting:
            self._captured[INPUT] = images

    def before(self, step: Step, module: nn.Module, args: tuple[Any, ...]) -> None:
        name = step.module
        if step.op not in WEIGHTED or name not in self._features.targets:
            return
        target = self._target(name, module)
        if target is not None:
            self._solve(name, module, args[0], target)

    def after(
        self, step: Step, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        if step.address in self._waiting and isinstance(output, Tensor):
            self._captured[step.address] = output

    def _find_shortcuts(self, trace: Trace, removed: frozenset[str]) -> dict[str, Address]:
        written = addresses(trace)
        passed = {}  # what leaves a removed block is what entered it
        for name in removed:
            (entered,), (left,) = trace.modules[name]
            passed[left] = entered
        result = {}
        inside = tuple(f"{name}." for name in removed)
        for name, aim in self._features.aims.items():
            value = aim.shortcut
            if value is None or (inside and name.startswith(inside)):
                continue
            while value in passed:
                value = passed[value]
            result[name] = written.get(value, INPUT)
        return result

    def _target(self, name: str, module: nn.Module) -> Tensor | None:
        target, chosen = self._features.targets[name], self._features.chosen[name]
        chosen = chosen[: self._settings.images]
        rows = chosen.numel() if target.dim() == 2 else target.shape[0]
        target = target[:rows]
        if name in self._kept:
            target = target[:, self._kept[name]]
        address = self._shortcuts.get(name)
        if address is None:
            return target
        if address not in self._captured:
            return None  # the shortcut did not run before this layer: leave the layer as it is
        shortcut = output_rows(self._captured[address], chosen, isinstance(module, nn.Linear))
        self._waiting[address] -= 1
        if not self._waiting[address]:
            del self._captured[address]
        return target - shortcut

    def _solve(self, name: str, module: Any, values: Tensor, target: Tensor) -> None:
        chosen = self._features.chosen[name][: values.shape[0]]
        rows = input_rows(module, values, chosen)
        runs = rows.shape[1]
        moments = second_moments(rows) / rows.shape[0]
        aims = target.view(target.shape[0], runs, -1).transpose(0, 1)
        ones = torch.ones(*rows.shape[:2], 1)
        wide = torch.cat([rows, ones], 2).transpose(0, 1)
        cross = (wide.transpose(1, 2) @ aims).double() / rows.shape[0]
        before = matrix(module).double()
        bias = module.bias.detach().double().view(runs, -1, 1)
        before = torch.cat([before, bias], 2).transpose(1, 2)
        strength = moments.diagonal(dim1=1, dim2=2)[:, :-1].mean(1) * self._settings.ridge
        ridge = torch.diag_embed(strength.clamp_min(1e-9).unsqueeze(1).expand(-1, wide.shape[2]))
        solved = torch.linalg.solve(moments + ridge, cross + ridge @ before).transpose(1, 2)
        set_matrix(module, solved[:, :, :-1].to(values.dtype))
        with torch.no_grad():
            module.bias.copy_(solved[:, :, -1].flatten().to(values.dtype))
