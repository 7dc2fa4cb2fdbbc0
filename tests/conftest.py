"""Here so that tests in the folders below find `handmade`: pytest puts this folder on the path."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The documents' commands first: they take longest, and one process takes a file whole."""
    items.sort(key=lambda item: item.path.name != "test_docs.py")
