"""Hooks can be made by name."""

from __future__ import annotations

import pytest

from automl.errors import UsageError
from automl.recovery.hooks.registry import HOOKS


def test_a_misspelt_one_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean zero-out"):
        HOOKS.build("zero-ot")
    with pytest.raises(UsageError, match=r"no option of hook zero-out 'shar' \(did you mean share"):
        HOOKS.build("zero-out:shar=0.5")
    assert HOOKS.noun == "hook"
