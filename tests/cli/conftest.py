"""The command, run in a folder with a model, data and a policy."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command import MINE, Pipeline, result

from automl import pipeline
from automl.cli.main import run
from automl.policy.file import write_policy
from policy_files import policy_file


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model, data and a policy."""
    (tmp_path / "mine.py").write_text(MINE)
    write_policy(policy_file(), tmp_path / "policy.json")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    return tmp_path


@pytest.fixture
def automl(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs the command in the working folder: (exit status, stdout, stderr)."""

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["automl", *words])
        with pytest.raises(SystemExit) as ended:
            run()
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    return call


@pytest.fixture
def searching(monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    fake = Pipeline(result())
    monkeypatch.setattr(pipeline, "search", fake)
    return fake
