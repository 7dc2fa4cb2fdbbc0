"""A storage that is locked or away is waited for, a mistake is not."""

from __future__ import annotations

import contextlib
import errno
import logging
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from chains import Climber, chain_problem, score

from automl.errors import LockedError, StorageError, StudyError
from automl.policy.policy import Policy
from automl.study.identity import Identity
from automl.study.lease import leased
from automl.study.loop import StudyResult, StudySettings, run_study
from automl.study.problem import Infeasible
from automl.study.storage import TrialStore
from automl.study.waiting import engine_options, wait_for

LOCKING = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("begin exclusive")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
"""
LOCKED_SECONDS = 2.0
IDENTITY = Identity("random", 0, "weights", "data", "space", "prices", "1 MB")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite and Optuna give up in a moment, so that ours come to be asked."""
    monkeypatch.setattr("automl.study.waiting.SQLITE_SECONDS", 0.05)
    monkeypatch.setattr("optuna.storages._rdb.storage.random.random", lambda: 0.0)


@contextlib.contextmanager
def locked_by_another(database: Path, seconds: float) -> Iterator[None]:
    with subprocess.Popen(
        [sys.executable, "-c", LOCKING, str(database), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        try:
            yield
        finally:
            other.kill()


def search(address: str | None, evaluate: Callable[[Policy], float] = score) -> StudyResult:
    problem = chain_problem(0.7)
    settings = StudySettings(trials=16, storage_url=address, agent_name="climber", resume=True)
    return run_study(problem, Climber(problem, 0), evaluate, settings)


def timeless(result: StudyResult) -> list[object]:
    return [(each.number, each.policy, each.state) for each in result.trials]


@pytest.mark.usefixtures("impatient")
def test_a_database_that_another_process_locks_costs_no_trial(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    database = tmp_path / "study.db"
    with contextlib.ExitStack() as stack:
        scored = []

        def locking(policy: Policy) -> float:
            scored.append(policy)
            if len(scored) == 3:
                stack.enter_context(locked_by_another(database, LOCKED_SECONDS))
            return score(policy)

        stack.enter_context(leased(f"sqlite:///{database}", "search", 0.2))
        found = search(f"sqlite:///{database}", locking)
    told = [each.message for each in caplog.records if each.name == "automl.study.waiting"]
    assert "database is locked; waiting for it, 300 s at most" in told[0]
    assert "answers again" in told[-1]
    assert timeless(found) == timeless(search(None))
    assert timeless(search(f"sqlite:///{database}")) == timeless(found)  # each was stored once


@pytest.mark.usefixtures("impatient")
def test_a_database_that_stays_locked_ends_in_one_line(tmp_path: Path) -> None:
    database = tmp_path / "study.db"
    engine = sa.create_engine(f"sqlite:///{database}", **engine_options("sqlite://"))

    def ask() -> None:
        with engine.begin() as connection:
            connection.execute(sa.text("create table if not exists x (y integer)"))

    wait_for(ask, "here")
    said = r"^study storage here was waited for, 0.3 s: OperationalError: .*database is locked"
    with locked_by_another(database, 60), pytest.raises(StudyError, match=said) as raised:
        wait_for(ask, "here", 0.3)
    assert "\n" not in str(raised.value)
    engine.dispose()


def once(error: Exception) -> Callable[[], int]:
    """A call that fails the first time."""
    left = [error]

    def call() -> int:
        if left:
            raise left.pop()
        return 1

    return call


def sqlite_error(code: int) -> sa.exc.OperationalError:
    error = sqlite3.OperationalError("it")
    error.sqlite_errorcode = code
    return sa.exc.OperationalError("select", {}, error)


AWAY = sa.exc.OperationalError("select", {}, Exception("server closed the connection"))
REFUSED = sa.exc.OperationalError("select", {}, Exception("connection refused"))
PASSWORD = sa.exc.OperationalError("select", {}, Exception("password authentication failed"))
BROKEN = sa.exc.InterfaceError("select", {}, Exception("closed"), connection_invalidated=True)


@pytest.mark.parametrize(
    ("error", "opening"),
    [
        (AWAY, False),
        (REFUSED, True),
        (PASSWORD, False),
        (BROKEN, False),
        (sqlite_error(sqlite3.SQLITE_BUSY_SNAPSHOT), True),
        (sqlite_error(sqlite3.SQLITE_CANTOPEN), False),
        (OSError(errno.ESTALE, "stale"), False),
    ],
)
def test_what_passes_is_waited_for(error: Exception, opening: bool) -> None:
    assert wait_for(once(error), "here", opening=opening) == 1


@pytest.mark.parametrize(
    ("error", "opening"),
    [
        (PASSWORD, True),
        (sa.exc.ProgrammingError("select", {}, Exception("no table")), False),
        (sa.exc.IntegrityError("select", {}, Exception("twice")), False),
        (sa.exc.ArgumentError("no address"), True),
        (sqlite_error(sqlite3.SQLITE_ERROR), False),
        (sqlite_error(sqlite3.SQLITE_CANTOPEN), True),
        (OSError(errno.EACCES, "denied"), False),
        (KeyError("study"), False),
        (optuna.exceptions.StorageInternalError("invalid data"), False),
    ],
)
def test_what_does_not_pass_is_not(error: Exception, opening: bool) -> None:
    with pytest.raises(StudyError, match=r"^study storage here: "):
        wait_for(once(error), "here", opening=opening)


class DiskFullError(Exception):
    """As psycopg says it."""

    sqlstate = "53100"


@pytest.mark.parametrize(
    "error",
    [
        sqlite_error(sqlite3.SQLITE_FULL),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        sa.exc.OperationalError("insert", {}, DiskFullError("could not extend file")),
    ],
)
def test_room_is_waited_for_a_moment_alone(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("automl.study.waiting.FULL_SECONDS", 0.3)

    def full() -> None:
        raise error

    with pytest.raises(StorageError, match=r"^study storage here has no room: ") as raised:
        wait_for(full, "here")
    assert raised.value.options == ("resume",)
    assert "waiting for it, 0.3 s at most" in caplog.text
    assert wait_for(once(error), "here") == 1


def test_our_own_errors_are_handed_on() -> None:
    with pytest.raises(LockedError, match=r"^held$"):
        wait_for(once(LockedError("held")), "here")


def test_a_driver_that_is_missing_is_named_with_what_brings_it() -> None:
    missing = ModuleNotFoundError("No module named 'psycopg'", name="psycopg")
    with pytest.raises(
        StudyError, match=r"psycopg is not installed: pip install 'automl-latency\[post"
    ):
        wait_for(once(missing), "here", opening=True)


def test_servers_that_vanish_are_noticed_in_seconds_unless_the_address_says_otherwise() -> None:
    options = engine_options("postgresql://me@host/db?connect_timeout=60")["connect_args"]
    assert options.keys() >= {"keepalives_idle", "tcp_user_timeout"}
    assert "connect_timeout" not in options


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_a_trial_whose_connection_broke_after_it_was_written_is_stored_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    problem = chain_problem()
    dense = problem.space.decode(problem.space.dense)
    add, left = optuna.Study.add_trial, [BROKEN]

    def add_and_break(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        add(study, trial)
        if left:
            raise left.pop()

    monkeypatch.setattr(optuna.Study, "add_trial", add_and_break)
    with TrialStore(f"{kind}:///{tmp_path / 'study'}", "search", problem.space) as store:
        store.claim(IDENTITY, resume=False)
        for number in range(3):
            store.add(Infeasible(number, dense, problem.costs.dense, float(number)), asked=1)
        found = store.claim(IDENTITY, resume=True)
    assert left == []
    assert [each.trial.seconds for each in found] == [0.0, 1.0, 2.0]


def test_who_lost_its_study_while_it_slept_adds_nothing_to_it(tmp_path: Path) -> None:
    problem, address = chain_problem(), f"sqlite:///{tmp_path / 'study.db'}"
    dense = Infeasible(0, problem.space.decode(problem.space.dense), problem.costs.dense, 0.0)
    with (
        leased(address, "runs/a", 3600.0),
        TrialStore(address, "runs/a", problem.space) as sleeper,
    ):
        sleeper.claim(IDENTITY, resume=False)
        with leased(address, "runs/a", 0.05):
            with pytest.raises(LockedError, match=r"runs/a' in .* was taken over by process"):
                sleeper.add(dense, asked=1)
            with TrialStore(address, "runs/a", problem.space) as taker:
                assert taker.claim(IDENTITY, resume=True) == []


def test_a_study_that_another_process_holds_is_not_opened(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'study.db'}"
    with leased(address, "runs/a"):
        engine = sa.create_engine(address)
        with engine.begin() as connection:
            holder = '{"pid": 1, "host": "elsewhere", "since": "today"}'
            connection.execute(sa.text("update automl_leases set holder = :it"), {"it": holder})
        engine.dispose()
        with pytest.raises(LockedError, match="in use by process 1 on elsewhere since today"):
            TrialStore(address, "runs/a", chain_problem().space)


@pytest.mark.parametrize(
    "said", ["is starting up", "is not yet accepting connections", "is not accepting connections"]
)
def test_a_server_that_says_it_is_starting_is_waited_for(said: str) -> None:
    refusals = [sa.exc.OperationalError("select 1", {}, Exception(f"FATAL:  the database {said}"))]

    def ask() -> str:
        if refusals:
            raise refusals.pop()
        return "there"

    assert wait_for(ask, "here", opening=True) == "there"
