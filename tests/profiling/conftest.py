"""What the tests of profiling share."""

from __future__ import annotations

import pytest
from recorded_runner import RecordedRunner


@pytest.fixture
def runner() -> RecordedRunner:
    """A device that answers at once."""
    return RecordedRunner()
