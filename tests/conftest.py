"""The order of the tests, and what they have of the shell that started them."""

from __future__ import annotations

import signal

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell has what it starts in the background ignore Ctrl-C, by which tests end processes.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The documents' commands first: they take longest, and one process takes a file whole."""
    items.sort(key=lambda item: item.path.name != "test_docs.py")
