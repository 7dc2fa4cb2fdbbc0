"""A study of a shared database has one searcher, and that of a killed one is taken over."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from automl.errors import LockedError, StudyError
from automl.study import lease
from automl.study.lease import leased

BEAT = 0.05
HOLDING = f"""
import sys, time
from automl.study.lease import leased
with leased(sys.argv[1], "runs/a", {BEAT}):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'studies.db'}"


def test_the_second_is_told_who_searches(address: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING, address], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        said = rf"study 'runs/a' in sqlite:///\S+ is in use by process {holder.pid} on \S+ since"
        patient = 20 * BEAT  # however busy this machine is, the holder beats before that is over
        with pytest.raises(LockedError, match=said), leased(address, "runs/a", patient):
            pass
        with leased(address, "runs/b", BEAT):
            pass
        holder.kill()
        holder.wait()
        with leased(address, "runs/a", BEAT):
            pass


def test_a_study_is_given_back(address: str) -> None:
    with leased(address, "runs/a", BEAT):
        pass
    with leased(address, "runs/a", 3600.0):  # no beat is waited for
        pass


def test_of_two_that_come_at_once_one_is_refused(address: str) -> None:
    """The same table, the same row, the same holder that was killed."""
    with leased(address, "runs/other", BEAT):
        pass
    engine = sa.create_engine(address)
    with engine.begin() as connection:
        connection.execute(sa.text("insert into automl_leases values ('runs/a', 'gone', 7, '{}')"))
    engine.dispose()
    held, refused, done = [], [], threading.Event()

    def take() -> None:
        try:
            with leased(address, "runs/a", 4 * BEAT):
                held.append(1)
                done.wait(30)
        except LockedError as error:
            refused.append(str(error))
            done.set()

    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(held) == 1
    assert len(refused) == 1
    assert f"process {os.getpid()} " in refused[0]


def test_a_holder_whose_study_was_taken_leaves_it_alone(address: str) -> None:
    """It slept for so long that it counted as gone."""
    with leased(address, "runs/a", 3600.0), leased(address, "runs/a", BEAT):
        pass
    with leased(address, "runs/a", 3600.0):
        pass


def test_while_a_database_does_not_answer_nobody_counts_as_gone(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its holder could not say that it lives, and says so afterwards."""
    quick, read = 0.1, lease._read
    asked: list[str] = []

    def away_once(engine: sa.Engine, study: str) -> object:
        asked.append(study)
        if len(asked) == 2:
            time.sleep(2 * lease.MISSED_BEATS * quick)
        if len(asked) == 3:
            with engine.begin() as connection:
                connection.execute(sa.text("update automl_leases set beat = beat + 1"))
        return read(engine, study)

    monkeypatch.setattr(lease, "_read", away_once)
    with (
        leased(address, "runs/a", 3600.0),
        pytest.raises(LockedError, match="in use by process"),
        leased(address, "runs/a", quick),
    ):
        pass


def test_a_database_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'missing' / 'studies.db'}"
    with (
        pytest.raises(StudyError, match=r"study storage sqlite:.*unable to open"),
        leased(address, "runs/a"),
    ):
        pass
