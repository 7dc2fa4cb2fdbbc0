"""The order of the tests."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The documents' commands first: they take longest, and one process takes a file whole."""
    items.sort(key=lambda item: item.path.name != "test_docs.py")
