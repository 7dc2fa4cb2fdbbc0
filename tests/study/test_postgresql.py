"""Studies in PostgreSQL, also while the server is away."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import sqlalchemy as sa
from chains import Climber, chain_problem, score
from postgresql_server import Server, find_binaries, serving

from automl.errors import LockedError, StudyError
from automl.policy.policy import Policy
from automl.study.identity import Identity
from automl.study.lease import leased
from automl.study.loop import StudyResult, StudySettings, run_study
from automl.study.problem import Infeasible, Trial
from automl.study.storage import TrialStore, delete_study
from automl.study.waiting import wait_for

BINARIES = find_binaries()
pytestmark = pytest.mark.skipif(
    BINARIES is None, reason="PostgreSQL's initdb and pg_ctl are not installed (Debian: postgresql)"
)
AWAY_SECONDS = 1.0
IDENTITY = Identity("random", 0, "weights", "data", "space", "prices", "1 MB")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    assert BINARIES is not None
    with serving(BINARIES, "-c fsync=off") as found:
        yield found


@pytest.fixture(autouse=True)
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Optuna's own five tries pass without a pause, so that ours come to be."""
    monkeypatch.setattr("optuna.storages._rdb.storage.random.random", lambda: 0.0)


class Interruption:
    """The score, and a server that is stopped at one of them and started again a while later."""

    def __init__(self, server: Server, stack: ExitStack, at: int) -> None:
        self._server, self._stack, self._left = server, stack, at

    def __call__(self, policy: Policy) -> float:
        self._left -= 1
        if self._left == 0:
            restart_later(self._server, self._stack)
        return score(policy)


def restart_later(server: Server, stack: ExitStack) -> None:
    server.stop()
    timer = threading.Timer(AWAY_SECONDS, server.start)
    timer.start()
    stack.callback(timer.join)


def search(address: str | None, evaluate: object, name: str, *, trials: int = 24) -> StudyResult:
    problem = chain_problem(0.7)
    settings = StudySettings(
        trials=trials, storage_url=address, name=name, agent_name="climber", resume=True
    )
    return run_study(problem, Climber(problem, 0), evaluate, settings)  # type: ignore[arg-type]


def timeless(result: StudyResult) -> list[object]:
    return [(each.number, each.policy, each.state) for each in result.trials]


def test_a_server_that_restarts_in_mid_search_costs_no_trial(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with ExitStack() as stack:
        stack.enter_context(leased(server.address, "runs/a", beat_seconds=0.3))
        broken = search(server.address, Interruption(server, stack, at=5), "runs/a")
        again = search(server.address, score, "runs/a")
    unbroken = search(None, score, "runs/a")
    assert timeless(broken) == timeless(unbroken)
    assert timeless(again) == timeless(unbroken)  # each was stored once
    told = [each.message for each in caplog.records if each.name == "automl.study.waiting"]
    assert "waiting for it, 300 s at most" in told[0]
    assert "answers again" in told[-1]
    with leased(server.address, "runs/a"):  # and its lease was given back
        pass


def test_a_server_that_is_starting_is_waited_for(server: Server) -> None:
    with ExitStack() as stack:
        restart_later(server, stack)
        stack.enter_context(leased(server.address, "runs/starting"))
        assert len(search(server.address, score, "runs/starting", trials=8).trials) == 8
    delete_study(server.address, "runs/starting")
    with pytest.raises(StudyError, match="Record does not exist"):
        delete_study(server.address, "runs/starting")


def test_who_lost_its_study_while_it_slept_adds_nothing_to_it(server: Server) -> None:
    space = chain_problem().space
    one, other = (
        Infeasible(0, space.decode(space.dense), chain_problem().costs.dense, seconds)
        for seconds in (1.0, 2.0)
    )
    address = server.address
    with leased(address, "runs/b", 3600.0), TrialStore(address, "runs/b", space) as sleeper:
        sleeper.claim(IDENTITY, resume=False)
        with leased(address, "runs/b", 0.05), TrialStore(address, "runs/b", space) as taker:
            taker.claim(IDENTITY, resume=True)
            with pytest.raises(LockedError, match=r"runs/b' in .* was taken over by process"):
                sleeper.add(one, asked=1)
            taker.add(other, asked=1)
            found = taker.claim(IDENTITY, resume=True)
            assert [each.trial.seconds for each in found] == [other.seconds]
        with pytest.raises(LockedError, match="was taken over by another process"):
            sleeper.add(one, asked=1)


def test_mistakes_are_not_waited_for(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    engine = sa.create_engine(server.address, poolclass=sa.NullPool)

    def ask() -> None:
        with engine.connect() as connection:
            connection.execute(sa.text("select * from nothing"))

    with pytest.raises(StudyError, match=r'study storage here: .*"nothing" does not exist'):
        wait_for(ask, "here")
    missing = server.address.replace("/postgres", "/nothing")
    for call in (lambda: leased(missing, "x").__enter__(), lambda: search(missing, score, "x")):
        with pytest.raises(StudyError, match='database "nothing" does not exist'):
            call()
    assert caplog.records == []


def test_trials_of_a_study_are_told_from_those_of_others(server: Server) -> None:
    results: list[tuple[Trial, ...]] = []

    def run(name: str) -> None:
        with leased(server.address, name):
            results.append(search(server.address, score, name).trials)

    threads = [threading.Thread(target=run, args=(f"runs/{name}",)) for name in "cd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [[each.number for each in trials] for trials in results] == [list(range(24))] * 2
