"""Where trained quantizers begin: layer by layer, each on what the layers before it write now.

A quantizer with other values than those of the policy's network changes what every later layer
reads. So each layer is solved by least squares towards what it writes in the policy's network, on
what it reads in the new one, and rounded to its quantizer's values with the moments of that: what
the finishing pass of a policy does (`compression.reconstruction.least_squares`), in one walk.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import nn

from automl.compression import (
    ActivationQParams,
    FakeQuantizeMode,
    Plan,
    Source,
    centred,
    input_rows,
    matrix,
    output_rows,
    places,
    set_matrix,
)
from automl.network import LeafCall
from automl.recovery.base import GivenWeights, TrainedQuantizer, WeightRounding

Tensor = torch.Tensor
#: Inputs that are walked: so many, of so many numbers together.
_INPUTS, _NUMBERS = 256, 8_000_000
#: Rows of a layer that are taken of them: so many, of so many numbers, but some for each column.
_ROWS, _CELLS, _ROWS_A_COLUMN = 12_000, 12_000_000, 2
#: Pull towards the weights before, relative to the mean second moment of the inputs.
_RIDGE: Final = 3e-2
#: What rounds a layer, and the numbers that training begins with.
Begun = tuple[WeightRounding, Tensor]
#: Gives the weights that would do best in a layer, and the moments of what it reads.
_Solve = Callable[[], tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class RunningNetwork:
    """A network of few bits as it runs.

    Attributes:
        network: Its layers have the weights of the policy's network.
        plan, qparams: What is rounded, and how in the policy's network.
        rounded: How in the one that is trained.
        changed: Whether that is something else.
    """

    network: nn.Module
    plan: Plan
    qparams: Mapping[Source, ActivationQParams]
    rounded: Callable[[Tensor, Source], Tensor]
    changed: bool


def begun(
    running: RunningNetwork,
    chosen: Mapping[str, TrainedQuantizer],
    given: Mapping[str, GivenWeights],
    inputs: Sequence[Tensor],
) -> dict[str, Begun]:
    """What rounds each layer, and the numbers that it begins with; biases are corrected in place.

    Where all quantizers have the values of the policy's network, nothing is changed, and as little
    in the layers before the first whose quantizer has others.

    Args:
        running: Its layers have the rounded weights afterwards.
        chosen: Who rounds each layer.
        given: Each layer, without aim and moments.
        inputs: Batches, [images, ...] each.
    """
    plain = {name: _begun(own, given[name]) for name, own in chosen.items()}
    others = {name for name in chosen if not _same(plain[name], given[name].weights)}
    if not (others or running.changed):
        return plain
    some = _some_of(inputs)
    written = _Written(running, chosen)
    with written.attached():
        running.network(some)
    walk = _Walk(running, written.rows, chosen, given, others)
    with walk.attached():
        running.network(some)
    return plain | walk.found


def _begun(quantizer: TrainedQuantizer, given: GivenWeights) -> Begun:
    rounding = quantizer.weights(given).eval()
    return rounding, rounding.begin(given)


def _same(found: Begun, weights: Tensor) -> bool:
    rounding, numbers = found
    return torch.allclose(rounding(numbers).detach(), weights, rtol=1e-6, atol=0)


def _some_of(inputs: Sequence[Tensor]) -> Tensor:
    """The first inputs, as many as are walked."""
    count = max(1, min(_INPUTS, _NUMBERS // max(1, inputs[0][:1].numel())))
    found: list[Tensor] = []
    for each in inputs:
        left = count - sum(map(len, found))
        found += [each[:left]] if left > 0 else []
    return torch.cat(found)


class _Written(FakeQuantizeMode):
    """Keeps what layers write at some places of the policy's network, [rows, outputs] each."""

    def __init__(self, running: RunningNetwork, layers: Collection[str]) -> None:
        super().__init__(running.network, running.plan, running.qparams)
        self._layers = frozenset(layers)
        self.rows: dict[str, Tensor] = {}

    def after(
        self, step: LeafCall, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        name = step.module
        if name in self._layers and name not in self.rows:
            chosen, last = _chosen(name, func, args[0]), isinstance(func, nn.Linear)
            self.rows[name] = output_rows(output, chosen, last).clone()
        super().after(step, func, args, kwargs, output)


class _Walk(FakeQuantizeMode):
    """Begins each layer before it runs: on what those before it write by then."""

    def __init__(
        self,
        running: RunningNetwork,
        aims: Mapping[str, Tensor],
        chosen: Mapping[str, TrainedQuantizer],
        given: Mapping[str, GivenWeights],
        others: Collection[str],
    ) -> None:
        super().__init__(running.network, running.plan, running.qparams)
        self._round, self._changed = running.rounded, running.changed
        self._aims, self._chosen, self._given = dict(aims), chosen, given
        self._others = frozenset(others)
        self.found: dict[str, Begun] = {}

    def before(self, step: LeafCall, module: nn.Module, args: tuple[Any, ...]) -> None:
        name = step.module
        self._changed = self._changed or name in self._others
        aim = self._aims.pop(name, None)
        if aim is None or not self._changed:
            return
        rows, bias = input_rows(module, args[0], _chosen(name, module, args[0])), _bias(module)
        best, moments = _solved(rows, aim, matrix(module), bias=bias is not None)
        known = replace(self._given[name], aim=best, moments=moments)
        self.found[name] = rounding, numbers = _begun(self._chosen[name], known)
        values = rounding(numbers).detach()
        set_matrix(module, values)
        if bias is not None:
            wrote = torch.einsum("nrc,roc->nro", rows, values).flatten(1)
            bias.copy_((aim - wrote).mean(0))

    def rounded(self, values: Tensor, source: Source, out: Tensor | None) -> Tensor:
        found = self._round(values, source)
        return found if out is None else out.copy_(found)


def _bias(module: nn.Module) -> Tensor | None:
    bias = getattr(module, "bias", None)
    return bias.detach() if isinstance(bias, Tensor) else None


def _chosen(name: str, module: nn.Module, values: Tensor) -> Tensor:
    """Places of each image, [images, places]: the same whenever they are asked for."""
    images = values.shape[0]
    total = places(module, tuple(values.shape), images)
    columns = matrix(module).shape[2]
    rows = max(min(_ROWS, _CELLS // columns), _ROWS_A_COLUMN * columns)
    count = max(1, min(-(-rows // images), total))
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    return torch.rand(images, total, generator=generator).topk(count, dim=1).indices


def _solved(rows: Tensor, aim: Tensor, before: Tensor, *, bias: bool) -> tuple[Tensor, Tensor]:
    """The weights that do best on rows, and their moments, with the ones where there is a bias.

    Args:
        rows: [n, runs, columns].
        aim: [n, outputs].
        before: [runs, outputs, columns], which what is found is pulled to.
        bias: Whether the layer has one, which takes out what is constant.
    """
    count, columns = len(aim), before.shape[2]
    wide = rows.transpose(0, 1).double()
    if bias:
        wide = torch.cat([wide, torch.ones_like(wide[:, :, :1])], 2)
    moments = wide.transpose(1, 2) @ wide / count
    spread = centred(moments, columns)
    outputs = aim.view(count, before.shape[0], -1).transpose(0, 1).double()
    outputs = outputs - outputs.mean(1, keepdim=True) if bias else outputs
    across = outputs.transpose(1, 2) @ wide[:, :, :columns] / count
    pull = _RIDGE * spread.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-9).view(-1, 1, 1)
    damped = spread + pull * torch.eye(columns, dtype=spread.dtype)
    left = across + pull * before.double()
    found = torch.linalg.solve(damped, left.transpose(1, 2)).transpose(1, 2)
    return found.to(before.dtype), moments
