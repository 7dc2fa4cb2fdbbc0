"""The trained quantizers by name."""

from __future__ import annotations

import pytest

from automl.errors import UsageError
from automl.recovery.quantizers.registry import TRAINED_QUANTIZERS


def test_a_name_that_is_none_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="lsq"):
        TRAINED_QUANTIZERS.build("lsg")
    assert TRAINED_QUANTIZERS.noun == "trained-quantizer"
