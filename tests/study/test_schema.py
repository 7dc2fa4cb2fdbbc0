"""A database whose making was cut off, at any of its steps, is made to its end by the next."""

from __future__ import annotations

import itertools
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from optuna.storages import RDBStorage
from sqlalchemy import event

from automl.cost import Cost
from automl.errors import StudyError
from automl.space import Space, Variable
from automl.study import schema
from automl.study.identity import Identity
from automl.study.problem import Completed
from automl.study.storage import TrialStore

IDENTITY = Identity("random", 0, "weights", "data", "space", "prices", "1 MB")
SPACE = Space((Variable("channels", "g", (4, 8, 12)),))
CHANGES = ("CREATE", "INSERT", "UPDATE")


class Killed(BaseException):
    """In place of a process's end."""


def cut_off(path: Path, steps: int) -> bool:
    """Begin to make a database, and end after some of the steps; False where there are no more."""
    count = itertools.count()

    def step(_: object, __: object, statement: str, *___: object) -> None:
        if statement.lstrip().startswith(CHANGES) and next(count) == steps:
            raise Killed

    event.listen(sa.Engine, "before_cursor_execute", step)
    try:
        RDBStorage(f"sqlite:///{path}").engine.dispose()
    except Killed:
        return True
    finally:
        event.remove(sa.Engine, "before_cursor_execute", step)
    return False


def indexes(path: Path) -> set[str]:
    with sqlite3.connect(path) as connection:
        found = connection.execute("select sql from sqlite_master where type = 'index'").fetchall()
    connection.close()
    return {sql for (sql,) in found if sql}


def test_trials_are_found_again_wherever_the_making_was_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "_PAUSE_SECONDS", 0.0)
    whole = tmp_path / "whole.db"
    assert not cut_off(whole, 1000)
    steps = 0
    while cut_off(path := tmp_path / f"{steps}.db", steps):
        steps += 1
        again = not any("ix_studies_study_name" in each for each in indexes(path))
        for number in range(1 + again):
            with TrialStore(f"sqlite:///{path}", "search", SPACE) as store:
                assert len(store.claim(IDENTITY, resume=True)) == number
                policy = SPACE.decode(SPACE.dense)
                cost = Cost(float("nan"), 2.0, 3.0)
                store.add(Completed(number, policy, cost, 1.5, 0.5, None), asked=1)
        assert indexes(path) == indexes(whole)
    assert steps > 15


def test_a_database_with_several_studies_of_a_name_is_refused_in_a_line(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    RDBStorage(f"sqlite:///{path}").engine.dispose()
    with sqlite3.connect(path) as connection:
        connection.execute("drop index ix_studies_study_name")
        connection.executemany("insert into studies (study_name) values (?)", [("search",)] * 2)
    connection.close()
    with pytest.raises(StudyError, match="UNIQUE constraint failed") as error:
        TrialStore(f"sqlite:///{path}", "search", SPACE)
    assert "\n" not in str(error.value)
