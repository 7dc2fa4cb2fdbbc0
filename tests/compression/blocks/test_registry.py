"""Alternatives are found by name, and an unknown one names the nearest."""

from __future__ import annotations

import pytest

from automl.compression import BLOCKS, block_form
from automl.errors import UnknownNameError


def test_each_is_found_by_its_name() -> None:
    assert [block_form(name).name for name in BLOCKS.names()] == [*BLOCKS.names()]
    with pytest.raises(UnknownNameError, match="did you mean fire"):
        block_form("fires")
