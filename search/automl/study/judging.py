"""What a network scores on data, and how well that is known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from automl.compression import resized
from automl.errors import DataError
from automl.interrupts import OverTime, time_limit
from automl.options import SCORE_SECONDS
from automl.userdata import ImageScore, OwnScore, Score

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class Resized:
    """Batches at another input resolution, resized as they are read."""

    batches: Iterable[tuple[Tensor, Any]]
    resolution: int

    def __iter__(self) -> Iterator[tuple[Tensor, Any]]:
        for inputs, targets in self.batches:
            yield resized(inputs, self.resolution), targets


@dataclass(frozen=True, slots=True)
class Judgement:
    """A network's score.

    Attributes:
        score: Larger is better.
        values: What it is the mean of, one an input in the order of the batches; None of a score
            that gives one number for all inputs.
    """

    score: float
    values: NDArray[np.float64] | None = None

    @property
    def error(self) -> float | None:
        """Standard error of the score; None where it is not known."""
        return _standard_error(self.values)

    def error_beside(self, other: Judgement) -> float | None:
        """Standard error of this score minus another's, input by input; None where not known."""
        one, two = self.values, other.values
        if one is None or two is None or len(one) != len(two):
            return None
        return _standard_error(one - two)


def _standard_error(values: NDArray[np.float64] | None) -> float | None:
    """Of the mean, by the spread of the values; None of fewer than two."""
    if values is None or len(values) < 2:
        return None
    return float(values.std(ddof=1)) / sqrt(len(values))


def judge_each(
    model: nn.Module,
    score: Score,
    batches: Iterable[tuple[Tensor, Any]],
    resolution: int = 0,
    *,
    seconds: float = SCORE_SECONDS,
) -> Judgement:
    """A model's score on batches, shown to it at its own resolution, with what is known of it.

    Args:
        model: Any network.
        score: Larger is better.
        batches: Inputs and targets.
        resolution: What inputs are resized to; 0 for none.
        seconds: How long it may take, in the main thread.

    Raises:
        DataError: It takes longer, or gives what is no finite number.
    """
    model.eval()
    shown = Resized(batches, resolution) if resolution else batches
    try:
        with torch.no_grad(), time_limit(seconds):
            if isinstance(score, ImageScore):  # which may compare with the dense network's input
                reference = score.reference(batches)
                parts = [*score.parts(model, (inputs for inputs, _ in shown), reference)]
                total = sum(float(part.sum()) for part in parts)
                values = torch.cat(parts).double().cpu().numpy()
                return Judgement(total / len(values), values)
            if isinstance(score, OwnScore):
                values = score.each(model, shown)
                return Judgement(float(values.mean()), values if len(values) > 1 else None)
            return Judgement(float(score(model, shown)))
    except OverTime as error:
        raise DataError(
            f"a network is not scored in time: {error}", options=("score_timeout",)
        ) from None


def judge(
    model: nn.Module,
    score: Score,
    batches: Iterable[tuple[Tensor, Any]],
    resolution: int = 0,
    *,
    seconds: float = SCORE_SECONDS,
) -> float:
    """The score alone, as `judge_each`.

    Raises:
        DataError: As `judge_each`.
    """
    return judge_each(model, score, batches, resolution, seconds=seconds).score
