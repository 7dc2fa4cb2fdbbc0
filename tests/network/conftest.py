"""The zoo as a fixture."""

from __future__ import annotations

import pytest
from specimens import NETWORKS, Specimen, specimen


@pytest.fixture(params=NETWORKS)
def each(request: pytest.FixtureRequest) -> Specimen:
    """Each network of the zoo in turn."""
    return specimen(request.param)
