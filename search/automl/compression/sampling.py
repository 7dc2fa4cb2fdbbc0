"""How many places of each image a layer is read at, so that all that is kept fits in memory."""

from __future__ import annotations

import math
import zlib
from typing import Final

import torch
from torch import nn

from automl.compression.layer_matrix import matrix
from automl.compression.memory import ImageParts, MemoryPlan
from automl.network import Trace

Tensor = torch.Tensor
#: Most rows of a layer.
_MOST_ROWS: Final = 100_000
#: Rows for each column where the limit in cells alone would leave fewer.
_ROWS_A_COLUMN: Final = 3
#: Rows for each column that are enough to rank channels by.
_ENOUGH_TO_RANK: Final = 8
_NUMBER: Final = 4


def rows_for(module: nn.Module, cells: float) -> int:
    """How many rows a layer is sampled at: enough to solve for its columns, no more than help."""
    runs, outputs, columns = matrix(module).shape
    few = min(int(cells) // (runs * max(columns, outputs)), _MOST_ROWS)
    return max(few, _ROWS_A_COLUMN * columns)


def short_of_rows(model: nn.Module, trace: Trace, images: int) -> dict[str, tuple[int, int]]:
    """Layers that so many images give fewer rows than they have columns: (rows, columns) of each.

    Args:
        model: The dense network.
        trace: Its recorded pass, of one image as large as these.
        images: How many there are.
    """
    short = {}
    for call in trace.calls:
        module = model.get_submodule(call.step.module) if call.step.module else None
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear):
            rows, columns = images * _places(module, call.out_shapes[0]), matrix(module).shape[2]
            if rows < columns:
                short[call.step.module] = (rows, columns)
    return short


def _places(module: nn.Module, shape: tuple[int, ...]) -> int:
    """Rows that an image gives, from the shape of a layer's output for one."""
    channels = shape[-1] if isinstance(module, nn.Linear) else shape[1]
    return max(1, math.prod(shape) // max(channels, 1))


class Sampling:
    """The places at which the layers of a network are read on some images.

    Args:
        model: The network.
        trace: Its recorded pass.
        plan: What may be held.
        parts: The images; the targets of a layer are of those that may wait at it.
        seed: Of the places.
    """

    def __init__(
        self,
        model: nn.Module,
        trace: Trace,
        plan: MemoryPlan,
        parts: ImageParts,
        seed: int,
    ) -> None:
        self._model, self._seed = model, seed
        self._cells = plan.cells
        self.images = parts.images
        self._scale_of_images = plan.scale
        self._shapes = {
            call.step.module: call.out_shapes[0] for call in trace.calls if call.step.module
        }
        self._aimed = {name: parts.images_at(name) for name in self._shapes}
        self._scale = math.inf
        self._fit(plan.targets_bytes)

    def aimed(self, name: str) -> int:
        """How many images, the first ones, a layer's targets are kept of."""
        return self._aimed[name]

    def targets(self, name: str, places: int) -> int:
        """How many of an image's places a layer's targets are kept at."""
        module = self._model.get_submodule(name)
        rows = rows_for(module, self._cells)
        if self._scale < math.inf:
            runs, outputs, columns = matrix(module).shape
            rows = min(rows, int(self._scale * math.sqrt(columns / (runs * outputs))))
        return max(1, min(rows // self._aimed[name], places))

    def moments(self, name: str, places: int) -> int:
        """How many of an image's places a layer's moments are taken at."""
        module = self._model.get_submodule(name)
        most = max(1, min(rows_for(module, self._cells) // self.images, places))
        # ranking channels takes fewer rows than refitting does, once there are enough
        enough = -(-_ENOUGH_TO_RANK * matrix(module).shape[2] // self.images)
        return min(most, max(most // 3, enough))

    def draws(self, name: str) -> torch.Generator:
        """What a layer's places are drawn by, image by image."""
        return torch.Generator().manual_seed(self._seed ^ zlib.crc32(name.encode()))

    def _fit(self, room: int) -> None:
        """Take fewer rows where the targets of all layers would not fit.

        What too few rows cost a layer goes with its columns over its rows, and what they take with
        its outputs: so the rows of layers are to each other as the roots of columns over outputs.
        """
        if self._target_bytes() > room:
            self._scale = float(_MOST_ROWS)
        while self._target_bytes() > room and self._scale > 1.0:
            self._scale *= 0.95

    def _target_bytes(self) -> int:
        total = 0
        for name, shape in self._shapes.items():
            module = self._model.get_submodule(name)
            if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear):
                channels = shape[-1] if isinstance(module, nn.Linear) else shape[1]
                places = max(1, math.ceil(self._scale_of_images * math.prod(shape) / channels))
                total += self._aimed[name] * self.targets(name, places) * channels * _NUMBER
        return total


def chosen_places(generator: torch.Generator, images: int, places: int, count: int) -> Tensor:
    """Places of each of the next images, drawn: [images, count]; a larger count begins alike."""
    weights = torch.rand(images, places, generator=generator)
    return weights.topk(count, dim=1).indices
