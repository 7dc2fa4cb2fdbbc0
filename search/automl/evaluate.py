"""Scoring a policy: make its network, finish it, judge it on data that its refit has not seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from automl.compression.apply import Compressor
from automl.compression.refit import RefitSettings
from automl.compression.sensitivity import resized
from automl.data import Batches
from automl.inputs import Score
from automl.policy import Policy

Tensor = torch.Tensor
#: The finishing step of a candidate: a share of the images and rows of the final one.
IN_THE_LOOP = RefitSettings(images=256, rows=8_000)


@dataclass(frozen=True, slots=True)
class Resized:
    """Batches at another input resolution, resized as they are read."""

    batches: Iterable[tuple[Tensor, Any]]
    resolution: int

    def __iter__(self) -> Iterator[tuple[Tensor, Any]]:
        for inputs, targets in self.batches:
            yield resized(inputs, self.resolution), targets


@dataclass(frozen=True, slots=True)
class Evaluator:
    """The score of a policy's finished network on validation data.

    The finishing step is in the loop, on fewer images than the final one takes: a search that
    scores candidates without it prefers the wrong ones.

    Attributes:
        compressor: Makes the networks.
        validation: What they are judged on.
        score: Larger is better.
        refit: Of the finishing step in the loop.
    """

    compressor: Compressor
    validation: Batches
    score: Score
    refit: RefitSettings = IN_THE_LOOP

    def __call__(self, policy: Policy) -> float:
        """The score of one policy."""
        model = self.compressor.make(policy, settings=self.refit)
        return judge(model, self.score, self.validation, policy.resolution)


def judge(
    model: nn.Module, score: Score, batches: Iterable[tuple[Tensor, Any]], resolution: int = 0
) -> float:
    """A model's score on batches, shown to it at its own resolution."""
    model.eval()
    with torch.no_grad():
        return float(score(model, Resized(batches, resolution) if resolution else batches))
