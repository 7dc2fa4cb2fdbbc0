"""A run folder, and a study in a shared database, have one process at a time."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import optuna
import pytest
from tiny import request, write_table

import automl.cli.main
from automl.errors import LockedError, StudyError
from automl.pipeline import search_front
from automl.pipeline.ownership import LOG, open_run, own_folder, refuse_running, stored_study
from automl.pipeline.requests import SearchRequest, ignore
from automl.policy.file import read_policy
from automl.study.lease import leased

USER = """
import os, time
from tiny import agreement, batches, model
scored = []
def loaders():
    return list(batches(1, 8, 4)), list(batches(2, 5, 1))
def score(network, data):
    scored.append(1)
    if len(scored) == int(os.environ["SCORES"]) + 1:
        print("waiting", flush=True)
        time.sleep(120)
    return agreement(network, data)
"""


SETTINGS = """
model = "user.py:model"
data = "user.py:loaders"
score = "user.py:score"
target = "board.jsonl"
budget = "60%MACs"
agent = "random"
round_to = 4
resolutions = "off"
"""


def test_the_second_search_in_a_folder_is_told_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And one that is killed blocks nobody: its trials are gone on with."""
    (tmp_path / "user.py").write_text(USER)
    write_table(tmp_path / "board.jsonl")
    words = ["automl", "search", "--out", "run"]
    (tmp_path / "automl.toml").write_text(SETTINGS)
    path = os.pathsep.join(each for each in sys.path if each)
    with subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=tmp_path,
        env={**os.environ, "SCORES": "3", "PYTHONPATH": path},
        stderr=subprocess.PIPE,  # what user code prints goes there
        text=True,
    ) as first:
        assert first.stderr is not None
        assert "waiting\n" in iter(first.stderr.readline, "")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", [*words, "--resume"])
        monkeypatch.setattr("sys.excepthook", sys.excepthook)
        monkeypatch.setenv("SCORES", "100")
        with pytest.raises(SystemExit) as ended:
            automl.cli.main.run()
        assert ended.value.code == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert f"automl: run is in use by process {first.pid} on " in said
        first.kill()
    stored = optuna.load_study(study_name="search", storage="sqlite:///run/study.db")
    before = len(stored.trials)
    assert before
    monkeypatch.setattr("automl.pipeline.results.export_onnx", lambda *_, **__: 0.0)
    with pytest.raises(SystemExit) as ended:
        automl.cli.main.run()
    assert ended.value.code == 0
    assert len(stored.trials) > before


@pytest.mark.parametrize("asking", [signal.SIGTERM, signal.SIGHUP])
def test_a_search_that_is_asked_to_end_writes_its_policy(
    tmp_path: Path, asking: signal.Signals
) -> None:
    (tmp_path / "user.py").write_text(USER)
    write_table(tmp_path / "board.jsonl")
    (tmp_path / "automl.toml").write_text(SETTINGS)
    path = os.pathsep.join(each for each in sys.path if each)
    with subprocess.Popen(
        [sys.executable, "-m", "automl", "search", "--out", "run"],
        cwd=tmp_path,
        env={**os.environ, "SCORES": "3", "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as search:
        assert search.stderr is not None
        assert "waiting\n" in iter(search.stderr.readline, "")
        search.send_signal(asking)
        out, err = search.communicate(timeout=600)
    assert search.returncode == 130
    assert err.splitlines()[-1] == "automl: interrupted"
    assert "interrupted: this is the best so far; --resume goes on" in out
    assert read_policy(tmp_path / "run" / "policy.json").score is not None
    assert (tmp_path / "run" / "model.onnx").is_file()


@pytest.fixture
def asked(tmp_path: Path) -> SearchRequest:
    return request(tmp_path / "board.jsonl", tmp_path / "run", "60%")


def test_a_folder_with_a_study_is_not_begun_anew(asked: SearchRequest) -> None:
    with open_run(asked, ignore):
        pass
    (asked.out / "study.db").touch()
    with pytest.raises(StudyError, match="holds a study already"), open_run(asked, ignore):
        pass
    with open_run(dataclasses.replace(asked, resume=True), ignore):
        pass


def test_a_folder_that_is_in_use_is_refused(asked: SearchRequest) -> None:
    said = f"run is in use by process {os.getpid()} on "
    with own_folder(asked.out):
        with pytest.raises(LockedError, match=said) as caught, open_run(asked, ignore):
            pass
        assert caught.value.options == ("out",)
        with pytest.raises(LockedError, match=said):
            refuse_running(asked.out)
        with pytest.raises(LockedError, match=said):
            search_front(asked, [("50%",), ("60%",)])
    refuse_running(asked.out)


def test_a_folder_of_others_is_not_locked_for_what_is_written_to_it(tmp_path: Path) -> None:
    refuse_running(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(asked: SearchRequest) -> None:
    asked.out.touch()
    with (
        pytest.raises(StudyError, match=r"the run folder \S+run cannot be written: File exists"),
        own_folder(asked.out),
    ):
        pass


def refused(folder: Path, written: str) -> None:
    with own_folder(folder):
        if written:
            (folder / written).write_text("{}")
        raise StudyError("refused")


@pytest.mark.parametrize(("written", "stays"), [("", False), (LOG, False), ("study.db", True)])
def test_a_run_that_was_refused_leaves_no_folder(written: str, stays: bool, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "deep" / "a"
    with pytest.raises(StudyError, match="refused"):
        refused(run, written)
    assert run.exists() == run.parent.exists() == stays


def test_a_folder_that_was_there_stays(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with pytest.raises(StudyError, match="refused"):
        refused(tmp_path / "runs", LOG)
    assert (tmp_path / "runs" / LOG).exists()


def test_two_machines_do_not_search_one_study_of_a_shared_database(
    asked: SearchRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same relative folder in two working folders is the same name in the database."""
    quick = partial(leased, beat_seconds=0.2)
    monkeypatch.setattr("automl.pipeline.ownership.leased", quick)
    here = dataclasses.replace(asked, storage=f"sqlite:///{tmp_path / 'db'}", out=Path("runs/a"))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "one")
    with open_run(here, ignore):
        monkeypatch.chdir(tmp_path / "two")
        with (
            pytest.raises(LockedError, match=r"study 'runs/a' in sqlite.* is in use by process"),
            open_run(here, ignore),
        ):
            pass
        with open_run(dataclasses.replace(here, out=Path("runs/b")), ignore):
            pass
    with open_run(here, ignore):
        pass


def test_a_study_is_in_the_run_folder_or_named_after_it(asked: SearchRequest) -> None:
    assert stored_study(asked) == (f"sqlite:///{asked.out}/study.db", "search")
    own = dataclasses.replace(asked, storage="sqlite:///own.db")
    assert stored_study(own) == ("sqlite:///own.db", f"{asked.out}")
