"""Scores of the user's own, their answers checked at each call."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from automl.errors import DataError, Raised, attempt
from automl.network import input_hook
from automl.userdata.data import Batches
from automl.userdata.objects import call_user

#: Characters of a text that is no score, as they are shown.
_SHOWN: Final = 40


class OwnScore:
    """A score of the user's: one number, or one number an input, whose mean is the score.

    Of one number for all inputs nothing is known but that number. Of one an input the standard
    error is known, and that of a difference to another network.

    Args:
        function: (model, batches) -> number, or one number an input in the order of the batches.
        name: What it is called where it fails.
    """

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self._function, self._name = function, name

    def __call__(self, model: nn.Module, batches: Iterable[tuple[torch.Tensor, Any]]) -> float:
        """The score.

        Raises:
            DataError: It failed, or gave no finite number.
        """
        return float(self.each(model, batches).mean())

    def each(
        self, model: nn.Module, batches: Iterable[tuple[torch.Tensor, Any]]
    ) -> NDArray[np.float64]:
        """One number an input, float64 [inputs]; the score alone, [1], where it gives no more.

        Raises:
            DataError: It failed, or gave no finite number.
        """
        hook = input_hook(model)
        shown = batches
        if hook is not None and not hook.form.plain:  # as the user's own data gives them
            shown = Batches(tuple((hook.form.unpack(rows), each) for rows, each in batches))
        what = f"score {self._name}"
        with torch.no_grad():
            answer = call_user(lambda: self._function(model, shown), f"{what} failed", DataError)
        found = _numbers(answer)
        if found is None or (len(found) != 1 and len(found) != _inputs(batches)):
            raise DataError(
                f"{what} returned {_called(answer)}, expected a number, or a vector of one an input"
            )
        if not np.isfinite(found).all():
            wrong = found[~np.isfinite(found)][0]
            raise DataError(f"{what} returned {wrong}, expected a finite number")
        return found


def checked_score(function: Callable[..., Any], name: str) -> OwnScore:
    """`function` with its answer checked: a DataError that names it where that is no score."""
    return OwnScore(function, name)


def _inputs(batches: Iterable[tuple[torch.Tensor, Any]]) -> int:
    return sum(len(inputs) for inputs, _ in batches)


def _numbers(answer: object) -> NDArray[np.float64] | None:
    """The numbers of an answer: one, or those of a vector; None where it is something else."""
    several: Any = np.array(answer) if isinstance(answer, list) else answer
    if isinstance(answer, torch.Tensor):
        several = answer.detach().cpu().double() if not answer.is_complex() else answer
    if isinstance(several, torch.Tensor | np.ndarray) and several.ndim == 1 and len(several) > 1:
        made = attempt(lambda: np.asarray(several).astype(np.float64, casting="same_kind"))
        return None if isinstance(made, Raised) else made
    if isinstance(answer, torch.Tensor | np.ndarray | np.generic) and len(np.ravel(several)) == 1:
        answer = answer.item()
    if isinstance(answer, str | bytes):
        return None
    number = attempt(lambda: float(answer))  # type: ignore[arg-type]
    return None if isinstance(number, Raised) else np.array([number])


def _called(answer: object) -> str:
    """What a score gave in place of a number, in a few words."""
    kind = type(answer).__name__
    if isinstance(answer, str | bytes):
        return f"the {kind} {answer[:_SHOWN]!r}"
    shape = getattr(answer, "shape", None)
    if isinstance(shape, tuple):
        return f"a {kind} of shape {tuple(shape)}"
    return "a whole number that no float holds" if isinstance(answer, int) else f"a {kind}"
