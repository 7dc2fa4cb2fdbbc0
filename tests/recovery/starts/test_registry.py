"""Starts can be made by name."""

from __future__ import annotations

import pytest

from automl.errors import UsageError
from automl.recovery.starts.registry import STARTS


def test_a_misspelt_one_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean scratch"):
        STARTS.build("scrach")
    assert STARTS.noun == "start"
