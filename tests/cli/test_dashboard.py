"""`automl dashboard`: a run's trials over HTTP, on this machine alone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
import pytest

from automl.cli import dashboard

installed = pytest.mark.skipif(
    find_spec("optuna_dashboard") is None, reason="optuna-dashboard is not installed"
)


@installed
@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no Ctrl-C to one process")
def test_a_runs_trials_are_served_on_this_machine(tmp_path: Path) -> None:
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'study.db'}")
    study = optuna.create_study(storage=storage, study_name="search")
    study.add_trial(optuna.trial.create_trial(value=0.5, user_attrs={"seconds": 2.0}))
    storage.engine.dispose()
    command = [sys.executable, "-m", "automl", "dashboard", str(tmp_path), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        url = running.stdout.readline().removeprefix("dashboard: ").strip()
        assert url.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{url}api/studies", timeout=60) as answer:
            found = json.load(answer)
        running.send_signal(signal.SIGINT)
        running.wait(60)
    assert [each["study_name"] for each in found["study_summaries"]] == ["search"]
    assert running.returncode == 130


def test_what_lacks_is_said_with_what_installs_it(
    automl: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard, "find_spec", lambda _: None)
    status, out, err = automl("dashboard", "run")
    assert (status, out) == (2, "")
    assert err.endswith("not installed: pip install 'automl-latency[dashboard]'\n")


def test_a_folder_without_trials_is_refused(automl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard, "find_spec", lambda name: name)
    status, _, err = automl("dashboard", "run")
    assert status == 2
    assert "run/study.db does not exist" in err


@installed
def test_a_damaged_study_is_one_line(automl: Any, folder: Path) -> None:
    (folder / "study.db").write_bytes(b"no database" * 100)
    status, _, err = automl("dashboard", ".")
    assert (status, len(err.splitlines())) == (2, 1)
    assert "study.db cannot be shown" in err
