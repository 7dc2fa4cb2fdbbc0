"""The finishing step: weights refitted layer by layer on the compressed network's own inputs.

In network order, each layer is solved by least squares towards the dense network's value at the
same place. A layer that ends in a residual addition aims at the dense sum minus the compressed
network's own shortcut, so each block also corrects the error that it inherited. One forward pass
of the compressed network over the calibration images; no labels, no gradients.

Source: the sequential reconstruction of He et al. 2017 (Channel Pruning), with its correction of
the shortcut, and the reconstruction past a ReLU of Zhang et al. 2015 (Accelerating Very Deep
Convolutional Networks). Differs: biases and depthwise layers are refitted too, weights are held to
where the elimination left them by a small ridge, and a ReLU only forgives what both networks have
below zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from automl.compression.features import INPUT, WEIGHTED, Features, with_ones
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
        rows: At most this many rows a layer, of those that the features hold.
        rounds: Solutions of a layer that a ReLU follows, each with what is rightly below zero no
            longer counted as an error.
    """

    ridge: float = 3e-3
    images: int = 1 << 30
    rows: int = 1 << 30
    rounds: int = 3


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
        shortcut = self._shortcut(name, module)
        if shortcut is not None:
            self._solve(name, module, args[0], shortcut)

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

    def _shortcut(self, name: str, module: nn.Module) -> Tensor | float | None:
        """The compressed network's other operand of the addition; None if it did not run yet."""
        address = self._shortcuts.get(name)
        if address is None:
            return 0.0
        if address not in self._captured:
            return None
        last = isinstance(module, nn.Linear)
        rows = output_rows(self._captured[address], self._chosen(name), last)
        self._waiting[address] -= 1
        if not self._waiting[address]:
            del self._captured[address]
        return rows

    def _target(self, name: str) -> Tensor:
        chosen = self._chosen(name)
        per_image = self._features.chosen[name].shape[1]
        target: Tensor = self._features.targets[name].unflatten(0, (-1, per_image))
        target = target[: chosen.shape[0], : chosen.shape[1]].flatten(0, 1)
        if name in self._kept:
            target = target[:, self._kept[name]]
        return target

    def _chosen(self, name: str) -> Tensor:
        chosen = self._features.chosen[name][: self._settings.images]
        return chosen[:, : max(1, self._settings.rows // chosen.shape[0])]

    def _solve(self, name: str, module: Any, values: Tensor, shortcut: Tensor | float) -> None:
        wide = with_ones(input_rows(module, values, self._chosen(name)))
        runs, rows, _ = wide.shape
        before = torch.cat([matrix(module), module.bias.detach().view(runs, -1, 1)], 2)
        before = before.transpose(1, 2).double()
        moments = (wide.transpose(1, 2) @ wide).double() / rows
        strength = moments.diagonal(dim1=1, dim2=2)[:, :-1].mean(1) * self._settings.ridge
        ridge = torch.diag_embed(strength.clamp_min(1e-9).unsqueeze(1).expand(-1, wide.shape[2]))
        factor, failed = torch.linalg.cholesky_ex(moments + ridge)
        if failed.any():  # inputs that are not finite: the layer stays as it is
            return
        target = self._target(name)
        rounds = self._settings.rounds if self._features.aims[name].rectified else 1
        aim, solved = target, before
        for _ in range(rounds):
            side = (aim - shortcut).view(rows, runs, -1).transpose(0, 1)
            cross = (wide.transpose(1, 2) @ side).double() / rows
            solved = torch.cholesky_solve(cross + ridge @ before, factor)
            if rounds > 1:
                found = (wide @ solved.to(wide.dtype)).transpose(0, 1).flatten(1) + shortcut
                aim = torch.where(target > 0, target, found.clamp_max(0))
        weights = solved.transpose(1, 2).to(values.dtype)
        set_matrix(module, weights[:, :, :-1])
        with torch.no_grad():
            module.bias.copy_(weights[:, :, -1].flatten())
