"""What the dense network does on the calibration images: inputs' second moments, targets to aim at.

One pass, no labels, no gradients. Positions are sampled, the same ones for a layer's inputs and
for its target, so memory does not grow with the resolution.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from automl.compression.layer_matrix import input_rows, matrix, output_rows, places
from automl.network import Address, Call, ForwardTracer, LeafCall, Trace

Tensor = torch.Tensor
#: Kinds of layers with weights that read channels.
WEIGHTED = ("conv", "conv_transpose", "linear")
INPUT: Address = ("", -1)  #: the address of the network's own input
_GRAM_BLOCK = 128  #: columns that are multiplied with all to their right at once


@dataclass(frozen=True, slots=True)
class Aim:
    """What a layer's refit aims at.

    Attributes:
        target: Where the dense value stands: the layer's own output, or that of the addition which
            it ends in.
        parts: How many times the layer's leading extent is the number of images: windows, frames.
        shortcut: The addition's other operand (a value number), already computed when the layer
            runs; None where the target is the layer's own output.
        rectified: Whether nothing but a ReLU reads the target, so that how far below zero it lies
            does not matter.
    """

    target: Address
    parts: int = 1
    shortcut: int | None = None
    rectified: bool = False


def aims_of(trace: Trace) -> dict[str, Aim]:
    """The aim of every weighted layer that runs once, in network order.

    The layer that runs last before an addition aims at the sum minus the other operand, so that
    it corrects what the compressed network's shortcut got wrong as well.
    """
    users = trace.users()
    order = {value: i for i, call in enumerate(trace.calls) for value in call.outputs}
    uses = trace.uses()
    result = {}
    for position, call in enumerate(trace.calls):
        if call.step.op not in WEIGHTED or uses[call.step.module] > 1:
            continue
        parts = call.in_shapes[0][0]  # recorded on one image
        if parts > 1 and call.step.op != "linear":
            continue  # frames of a video: which image a row is of would have to be followed
        readers = users.get(call.outputs[0], [])
        result[call.step.module] = Aim(call.step.address, parts, None, _rectified(readers))
        if len(readers) != 1 or readers[0].step.op.rstrip("_") != "add":
            continue
        total = readers[0]
        others = [value for value in total.inputs if value != call.outputs[0]]
        same = total.in_shapes[0] == total.in_shapes[-1] and len(total.inputs) == 2
        if same and len(others) == 1 and order.get(others[0], -1) < position:
            after = _rectified(users.get(total.outputs[0], []))
            result[call.step.module] = Aim(total.step.address, parts, others[0], after)
    return result


def _rectified(readers: list[Call]) -> bool:
    return bool(readers) and all(call.step.op.rstrip("_") == "relu" for call in readers)


@dataclass(slots=True)
class Moments:
    """Second moments of a layer's inputs, with a column of ones for the bias.

    Attributes:
        total: [runs, columns + 1, columns + 1], summed over rows.
        rows: How many rows went in.
    """

    total: Tensor
    rows: int = 0

    def add(self, rows: Tensor) -> None:
        """Add rows [n, runs, columns]."""
        wide = with_ones(rows)
        self.total += gram(wide).double()
        self.rows += rows.shape[0]


def with_ones(rows: Tensor) -> Tensor:
    """Rows [n, runs, columns] as [runs, n, columns + 1], the last column ones for the bias."""
    ones = torch.ones(*rows.shape[:2], 1, dtype=rows.dtype)
    return torch.cat([rows, ones], 2).transpose(0, 1)


def gram(rows: Tensor) -> Tensor:
    """Sums of products of columns: [runs, columns, columns] of rows [runs, n, columns].

    Symmetric, so only what is not below the diagonal is multiplied out.
    """
    runs, _, columns = rows.shape
    if columns <= _GRAM_BLOCK:
        return rows.transpose(1, 2) @ rows
    result = rows.new_empty(runs, columns, columns)
    for first in range(0, columns, _GRAM_BLOCK):
        here = slice(first, first + _GRAM_BLOCK)
        product = rows[:, :, here].transpose(1, 2) @ rows[:, :, first:]
        result[:, here, first:] = product
        result[:, first:, here] = product.transpose(1, 2)
    return result


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A part of features: what is kept of the first images alone.

    Attributes:
        images: How many images.
        rows: How many rows of each layer, at most; one an image at least.
    """

    images: int
    rows: int

    def places(self, chosen: Tensor) -> Tensor:
        """Of sampled places [images, places] those within the excerpt."""
        chosen = chosen[: self.images]
        return chosen[:, : max(1, self.rows // chosen.shape[0])]


@dataclass(slots=True)
class Features:
    """What one pass of the dense network over the calibration images left behind.

    Attributes:
        images: The calibration inputs.
        moments: Per weighted layer, those of its inputs; none in an excerpt.
        targets: Per weighted layer, dense values to aim at: [images x places, channels].
        chosen: Per weighted layer, the sampled places: [images, places].
        aims: Per weighted layer.
    """

    images: Tensor
    moments: dict[str, Moments]
    targets: dict[str, Tensor]
    chosen: dict[str, Tensor]
    aims: dict[str, Aim]


def collect(
    model: nn.Module,
    trace: Trace,
    images: Tensor,
    *,
    cells_per_layer: int = 28_000_000,
    batch: int = 128,
    seed: int = 0,
    excerpt: Excerpt | None = None,
) -> Features:
    """Run the dense network over the calibration images once.

    Args:
        model: The dense network, batch norms folded.
        trace: Its recorded pass.
        images: Calibration inputs.
        cells_per_layer: How many numbers of each layer's inputs are read, and of its targets kept,
            over all images: narrow layers are sampled at more places than wide ones, at no more
            cost.
        batch: Images per forward pass.
        seed: Of the sampled places.
        excerpt: Collect so much of the targets, the same values, and no moments; None for all.
    """
    read = images if excerpt is None else images[: excerpt.images]
    features = Features(read, {}, {}, {}, aims_of(trace))
    collector = _Collector(model, features, images.shape[0], cells_per_layer, seed, excerpt)
    with collector.attached():
        for part in read.split(batch):
            collector.next_part(part.shape[0])
            model(part)
    collector.join()
    return features


def rows_for(module: nn.Module, cells: int) -> int:
    """How many rows a layer is sampled at: enough to solve for its columns, no more than help."""
    runs, outputs, columns = matrix(module).shape
    return max(min(cells // (runs * max(columns, outputs)), 100_000), 3 * columns)


class _Collector(ForwardTracer):
    def __init__(
        self,
        model: nn.Module,
        features: Features,
        everything: int,
        cells: int,
        seed: int,
        excerpt: Excerpt | None,
    ) -> None:
        super().__init__(model)
        self._features, self._cells, self._seed = features, cells, seed
        self._everything, self._excerpt = everything, excerpt
        self._first = self._images = 0
        self._by_target: dict[Address, list[str]] = {}
        for name, aim in features.aims.items():
            self._by_target.setdefault(aim.target, []).append(name)
        self._parts: dict[str, list[Tensor]] = {name: [] for name in features.aims}

    def next_part(self, images: int) -> None:
        self._first += self._images
        self._images = images
        self._counts.clear()

    def join(self) -> None:
        for name in list(self._parts):
            parts = self._parts.pop(name)  # let go of as they are joined: twice would not fit
            if parts:
                self._features.targets[name] = torch.cat(parts)

    def before(self, step: LeafCall, module: nn.Module, args: tuple[Any, ...]) -> None:
        aim = self._features.aims.get(step.module)
        if aim is None or step.op not in WEIGHTED:
            return
        if args[0].shape[0] != aim.parts * self._images:
            del self._features.aims[step.module]  # images do not come first: sequences that do
            return
        chosen = self._choose(step.module, module, args[0])
        if self._excerpt is not None:
            return
        # ranking channels takes fewer rows than refitting does, once there are enough
        enough = -(-8 * matrix(module).shape[2] // self._features.images.shape[0])
        rows = input_rows(module, args[0], chosen[:, : max(chosen.shape[1] // 3, enough)])
        moments = self._features.moments.get(step.module)
        if moments is None:
            extent = rows.shape[2] + 1
            empty = torch.zeros(rows.shape[1], extent, extent, dtype=torch.float64)
            moments = self._features.moments[step.module] = Moments(empty)
        moments.add(rows)

    def after(
        self, step: LeafCall, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        for name in self._by_target.get(step.address, ()):
            if name not in self._features.aims:
                continue
            if kwargs.get("alpha", 1) != 1:
                del self._features.aims[name]  # the sum is not of the operands as they are
                continue
            module = self._model.get_submodule(name)
            if isinstance(module, nn.ConvTranspose2d):
                continue
            here = self._chosen_here(name)
            last = isinstance(module, nn.Linear)
            self._parts[name].append(output_rows(output, here, last))

    def _choose(self, name: str, module: nn.Module, values: Tensor) -> Tensor:
        if name not in self._features.chosen:
            total = places(module, tuple(values.shape), self._images)
            everything = self._everything
            count = max(1, min(rows_for(module, self._cells) // everything, total))
            generator = torch.Generator().manual_seed(self._seed ^ zlib.crc32(name.encode()))
            weights = torch.rand(everything, total, generator=generator)
            chosen = weights.topk(count, dim=1).indices
            excerpt = self._excerpt
            self._features.chosen[name] = chosen if excerpt is None else excerpt.places(chosen)
        return self._chosen_here(name)

    def _chosen_here(self, name: str) -> Tensor:
        return self._features.chosen[name][self._first : self._first + self._images]
