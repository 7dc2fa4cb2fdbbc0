"""Whether a score is no better than that of a network which ignores its input."""

from __future__ import annotations

from math import isfinite, sqrt
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map

from automl.errors import Raised, attempt
from automl.study.judging import judge
from automl.userdata import Batches, ImageScore, Score, fitting, in_passes

Tensor = torch.Tensor
#: Inputs that the answer to all is the mean of.
_INPUTS = 256
#: Standard errors by which a score must be better than chance.
_ERRORS = 3.0


class Constant(nn.Module):
    """A network that answers the same to every input: the mean of another's outputs.

    Args:
        dense: The other network.
        inputs: What its outputs are the mean over.
    """

    def __init__(self, dense: nn.Module, inputs: Tensor) -> None:
        super().__init__()
        with torch.no_grad():
            passes = [dense(part) for part in inputs.split(fitting(inputs))]
        self._answer = tree_map(_mean, *passes)

    def forward(self, inputs: Tensor) -> Any:
        """The answer, once an input."""
        return tree_map(lambda answer: _repeated(answer, len(inputs)), self._answer)


def _mean(*outputs: Any) -> Any:
    first = outputs[0]
    if isinstance(first, Tensor) and first.is_floating_point() and first.dim():
        return torch.cat(outputs).mean(0)
    return first


def _repeated(answer: Any, count: int) -> Any:
    return answer.expand(count, *answer.shape) if isinstance(answer, Tensor) else answer


def chance_level(reached: float, score: Score, dense: nn.Module, batches: Batches) -> float | None:
    """What no network that ignores its input scores more than, where no more was reached.

    Args:
        reached: The score of a network that may be at chance.
        score: Larger is better.
        dense: Whose mean output is the answer to all inputs.
        batches: What is scored.

    Returns:
        None where more was reached, the dense network itself is no better, or a score of the
        user's does not take such a network.
    """

    def found() -> float:
        constant = Constant(dense, batches.head(_INPUTS).inputs)
        if isinstance(score, ImageScore):
            return _most(score, constant, batches)
        return judge(constant, score, batches)

    level = attempt(found)
    if isinstance(level, Raised) or not isfinite(level) or reached > level:
        return None
    return level if level < judge(dense, score, batches) else None


def _most(score: ImageScore, constant: nn.Module, batches: Batches) -> float:
    """The constant network's mean over images and three of its standard errors."""
    reference = score.reference(batches)
    with torch.no_grad():
        rows = reference.rows
        values = score.values(in_passes(constant, rows), reference)
    spread = float(values.std()) if len(values) > 1 else 0.0
    return float(values.mean()) + _ERRORS * spread / sqrt(len(values))
