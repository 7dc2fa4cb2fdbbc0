"""Losses can be made by name."""

from __future__ import annotations

import pytest

from automl.errors import UsageError
from automl.recovery.terms.registry import TERMS


def test_a_misspelt_one_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean hints"):
        TERMS.build("hint")
    assert TERMS.noun == "term"
