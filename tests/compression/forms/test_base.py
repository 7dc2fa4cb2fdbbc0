"""Numbers as forms take them."""

from __future__ import annotations

import numpy as np
import pytest

from automl.compression.forms.base import least, ranks, whole_number


def test_the_least_of_numbers_and_of_arrays() -> None:
    assert least(3, 5) == 3
    assert type(least(3, 5)) is int
    assert least(4, np.array([2, 6])).tolist() == [2, 4]


def test_ranks_are_shares_each_once() -> None:
    assert ranks(16, (0.25, 0.5)) == (4, 8)
    assert ranks(2, (0.125, 0.25, 0.5, 1.0)) == (1, 2)


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "٣", "9999999999", "two"])
def test_a_rank_is_a_whole_number_from_one_on(text: str) -> None:
    assert whole_number("16") == 16
    with pytest.raises(ValueError, match="is no number of channels"):
        whole_number(text)
