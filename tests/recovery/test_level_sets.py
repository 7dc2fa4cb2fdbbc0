"""Sets of few values."""

from __future__ import annotations

import pytest
import torch

from automl.errors import UsageError
from automl.recovery.level_sets import checked_bits, powers_of_two, ternary


def test_powers_are_those_of_inq() -> None:
    weights = torch.tensor([1.4, 1.0, 0.76, 0.74, 0.3, 0.05, -0.4, 0.0])
    # floor(log2(4/3 x 1.4)) = 0: of 4 bits 1, 1/2, 1/4, 1/8 and zero
    expected = [1.0, 1.0, 1.0, 0.5, 0.25, 0.0, -0.5, 0.0]
    assert powers_of_two(weights, 4).tolist() == expected
    assert powers_of_two(torch.tensor([1.0, 0.07, 0.05]), 4).tolist() == [1.0, 0.125, 0.0]


def test_ternary_has_a_size_an_output() -> None:
    found = ternary(torch.tensor([[1.0, -1.2, 0.1], [4.0, 0.5, -2.0]]))
    torch.testing.assert_close(found, torch.tensor([[1.1, -1.1, 0.0], [3.0, 0.0, -3.0]]))


@pytest.mark.parametrize("bits", [2, 9, 3.5, True])
def test_other_bits_are_refused(bits: int) -> None:
    with pytest.raises(UsageError, match="bits is a whole number from 3 to 8"):
        checked_bits("bits", bits, 3, 8)
