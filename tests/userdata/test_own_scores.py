"""A user's score: one number, or one an input; what is neither is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from users_file import small

from automl.errors import DataError
from automl.userdata.own_scores import checked_score


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (float("nan"), "score mine returned nan, expected a finite number"),
        ("0.5", "score mine returned the str '0.5', expected a number"),
        (b"0.5", "score mine returned the bytes b'0.5', expected a number"),
        (torch.zeros(3), r"score mine returned a Tensor of shape \(3,\), expected a number"),
        (np.zeros((2, 1)), r"score mine returned a ndarray of shape \(2, 1\), expected a number"),
        (
            torch.zeros(2, 2),
            r"returned a Tensor of shape \(2, 2\), expected a number, or a vector of",
        ),
        (torch.zeros(3, dtype=torch.complex64), r"returned a Tensor of shape \(3,\), expected"),
        ([0.5, "x"], "score mine returned a list, expected a number"),
        ([0.5, 0.5], "score mine returned a list, expected a number"),
        ((0.5,), "score mine returned a tuple, expected a number"),
        (None, "score mine returned a NoneType, expected a number"),
        (1j, "score mine returned a complex, expected a number"),
        (10**400, "score mine returned a whole number that no float holds, expected a number"),
        (torch.tensor(float("inf")), "score mine returned inf, expected a finite number"),
    ],
)
def test_a_score_that_is_no_number_is_named(answer: Any, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        checked_score(lambda model, batches: answer, "mine")(small(), [])


@pytest.mark.parametrize("answer", [0.5, np.float32(0.5), np.array([0.5]), torch.tensor([[0.5]])])
def test_one_number_is_one_whatever_holds_it(answer: Any) -> None:
    assert checked_score(lambda model, batches: answer, "mine")(small(), []) == 0.5


def test_a_score_that_fails_is_named() -> None:
    with pytest.raises(DataError, match="score mine failed: ZeroDivisionError"):
        checked_score(lambda model, batches: 1 / 0, "mine")(small(), [])


BATCHES = [(torch.zeros(2, 3), None), (torch.ones(1, 3), None)]


@pytest.mark.parametrize(
    "answer",
    [
        torch.tensor([0.0, 0.5, 1.0]),
        torch.tensor([0.0, 0.5, 1.0], requires_grad=True),
        np.array([0.0, 0.5, 1.0], np.float32),
        [0.0, 0.5, 1.0],
    ],
)
def test_one_number_an_input_is_their_mean(answer: Any) -> None:
    score = checked_score(lambda model, batches: answer, "mine")
    assert score(small(), BATCHES) == 0.5
    assert score.each(small(), BATCHES).tolist() == [0.0, 0.5, 1.0]


def test_right_and_wrong_are_numbers_as_well() -> None:
    right = torch.tensor([True, False, False])
    assert checked_score(lambda model, batches: right, "mine")(small(), BATCHES) == 1 / 3


def test_numbers_of_something_else_than_inputs_are_refused() -> None:
    by_class = checked_score(lambda model, batches: torch.zeros(4), "mine")
    with pytest.raises(DataError, match=r"Tensor of shape \(4,\), expected a number, or a vector"):
        by_class(small(), BATCHES)


def test_each_number_has_to_be_finite() -> None:
    score = checked_score(lambda model, batches: [0.0, float("nan"), 1.0], "mine")
    with pytest.raises(DataError, match="score mine returned nan, expected a finite number"):
        score(small(), BATCHES)
