"""What a latency table is keyed by, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from automl.network import Extent, Layer

Source = Literal["measured", "interpolated", "fitted"]
#: Codes used in arrays of sources, best first.
SOURCES: tuple[Source, ...] = ("measured", "interpolated", "fitted")
MISSING = len(SOURCES)


@dataclass(frozen=True, slots=True, order=True)
class OpKey:
    """An operator, its shape at batch 1, and its precision: "fp32", "fp16", "int8", or "w4a6".

    `batch` is as in `Layer`: maps that one input becomes.
    """

    op: str
    in_channels: int
    out_channels: int
    kernel: Extent = (1, 1)
    stride: Extent = (1, 1)
    padding: Extent = (0, 0)
    dilation: Extent = (1, 1)
    groups: int = 1
    in_size: Extent = (1, 1)
    out_size: Extent = (1, 1)
    detail: str = ""
    precision: str = "fp32"
    batch: int = 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates, as `Layer.macs` counts them."""
        return self.layer().macs

    def layer(self, name: str = "") -> Layer:
        """The key as a layer, its precision left out."""
        return Layer(
            name,
            self.op,
            self.in_channels,
            self.out_channels,
            self.kernel,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            self.in_size,
            self.out_size,
            self.detail,
            self.batch,
        )


def op_key(layer: Layer, precision: str = "fp32") -> OpKey:
    """The key under which a layer is priced."""
    return OpKey(
        layer.op,
        layer.in_channels,
        layer.out_channels,
        layer.kernel,
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups,
        layer.in_size,
        layer.out_size,
        layer.detail,
        precision,
        layer.batch,
    )


@dataclass(frozen=True, slots=True)
class Timings:
    """Answers to a list of keys, as arrays of the same length.

    Attributes:
        seconds: NaN where missing.
        spread: Relative half-width of the uncertainty of each (0.05 = 5 %); NaN where not known.
        source: Index into `SOURCES`, or `MISSING`.
        joules: Energy of each, NaN where not known; None where none is.
    """

    seconds: NDArray[np.float64]
    spread: NDArray[np.float64]
    source: NDArray[np.int8]
    joules: NDArray[np.float64] | None = None


class Pricer(Protocol):
    """Anything that prices operators: a table, a predictor, a recorded map in a test."""

    def lookup(self, keys: Sequence[OpKey]) -> Timings:
        """Timings of `keys`, in their order."""
        ...
