"""What a reconstruction is: it makes a candidate compute what the dense network does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import nn

from automl.compression.quantization.base import Quantizer
from automl.compression.quantization.simulation import Plan
from automl.compression.statistics import Excerpt, Features
from automl.errors import UsageError
from automl.network import Trace

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class RefitSettings:
    """How much is done: less for candidates in a search than for the network that is delivered.

    Attributes:
        images: At most this many calibration images.
        rows: At most this many rows a layer, of those that the features hold.
        rounds: Solutions of a layer that a ReLU follows, each with what is rightly below zero no
            longer counted as an error; 0 leaves the weights as they are but for their rounding.
        refine: Whether rounding takes the time for the best, and how strongly wide layers of few
            rows are held to their weights is found on all rows, held out in turn.
    """

    images: int = 1 << 30
    rows: int = 1 << 30
    rounds: int = 3
    refine: bool = True

    @property
    def excerpt(self) -> Excerpt:
        """What of the features is read."""
        return Excerpt(self.images, self.rows)


#: Of the network that is delivered.
FULL_REFIT = RefitSettings()


@dataclass(frozen=True, slots=True)
class StandIn:
    """What runs in a layer's place from the start, as its parts are rounded one by one.

    Attributes:
        layer: The layer, whose weights are solved for.
        place: The name of what runs in its place; its weights are those of `build`.
        end: The name of the layer with weights that writes what it gives; "" where there is none.
        finish: Brings the layer to its option, as `Candidate.finishes`.
        build: Makes what runs from the layer.
    """

    layer: nn.Module
    place: str
    end: str
    finish: Callable[[nn.Module, Tensor], None]
    build: Callable[[nn.Module], nn.Module]


@dataclass(frozen=True, slots=True)
class Read:
    """What the dense network feeds a layer, and what of it a candidate's layer still reads.

    Attributes:
        moments: Mean second moments, with a column of ones for the bias, of the matrices that
            stay: [runs that stay, columns + 1, columns + 1].
        columns: Which columns stay: [runs that stay, columns that stay].
    """

    moments: Tensor
    columns: Tensor

    @property
    def wide(self) -> Tensor:
        """The columns that stay and the ones: [runs that stay, columns that stay + 1]."""
        ones = torch.full_like(self.columns[:, :1], self.moments.shape[2] - 1)
        return torch.cat([self.columns, ones], 1)

    @property
    def beside(self) -> Tensor:
        """Moments of all columns with those that stay: [runs that stay, columns + 1, wide]."""
        index = self.wide.unsqueeze(1).expand(-1, self.moments.shape[1], -1)
        return self.moments.gather(2, index)

    @property
    def left(self) -> Tensor:
        """The moments of the columns that stay, with the ones."""
        beside = self.beside
        return beside.gather(1, self.wide.unsqueeze(2).expand(-1, -1, beside.shape[2]))


@dataclass(frozen=True, slots=True)
class Dense:
    """The network that a candidate was made from.

    Attributes:
        model: The dense network; not to be changed.
        read: By the name of a layer of the candidate that has weights, what it reads, at the
            dense network's resolution.
    """

    model: nn.Module
    read: Callable[[str], Read]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A compressed network that is not finished.

    Attributes:
        model: Physically smaller, blocks removed; changed in place.
        trace: The dense network's recorded pass, with what runs in layers' places.
        features: The dense network's features at the compressed network's resolution; at another
            than the dense one no moments, and no more than the settings ask for.
        kept_outputs: Per layer whose outputs were cut, which stay.
        plan: What is rounded, made without the removed blocks; no bits where nothing is.
        removed: Blocks that were left out.
        finishes: Per layer that takes another form: what becomes of it, given the mean second
            moments of what it reads, when it was solved. The next layers are to see it.
        stand_ins: Per layer that takes another form in a network with bits: what runs in its place,
            which the trace and the plan know. `finishes` are then empty.
        dense: What it was made from; None where only methods follow that can do without.
        merged: Layers that run in place of several: they read what the first of these does, and
            were solved on what it reads in the dense network.
        adding: Those of them that do the addition themselves that the layer in whose place they run
            ends in.
    """

    model: nn.Module
    trace: Trace
    features: Features
    kept_outputs: Mapping[str, Tensor]
    plan: Plan
    removed: frozenset[str] = frozenset()
    finishes: Mapping[str, Callable[[nn.Module, Tensor], None]] = field(default_factory=dict)
    stand_ins: Mapping[str, StandIn] = field(default_factory=dict)
    dense: Dense | None = None
    merged: frozenset[str] = frozenset()
    adding: frozenset[str] = frozenset()

    @property
    def made_from(self) -> Dense:
        """The dense network, for methods that cannot do without.

        Raises:
            UsageError: The candidate was made without.
        """
        if self.dense is None:
            raise UsageError("this reconstruction needs the dense network beside its candidate")
        return self.dense


class Reconstruction(Protocol):
    """Finishes candidates."""

    def finish(
        self, candidate: Candidate, quantizer: Quantizer, settings: RefitSettings = FULL_REFIT
    ) -> nn.Module:
        """The finished network: a `QuantizedModel` where the plan has bits.

        The same arguments give the same weights; a candidate that computes what the dense network
        does is left as it is.

        Raises:
            QuantizationError: Activations that are constant or not finite; it names the layer.
        """
        ...
