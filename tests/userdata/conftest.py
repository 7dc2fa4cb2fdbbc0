"""A user's file in the working folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from users_file import USER


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its path."""
    path = tmp_path / "mine.py"
    path.write_text(USER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", sys.path.copy())
    return path
