"""Optuna's tables in a database whose making was cut off."""

from __future__ import annotations

import time
from typing import Final

import sqlalchemy as sa

_STUDIES: Final = sa.Table("studies", sa.MetaData(), sa.Column("study_name", sa.String(512)))
_TRIALS: Final = sa.Table("trials", sa.MetaData(), sa.Column("study_id", sa.Integer))
#: What Optuna makes after a table, in a step of its own. The first keeps a study from being made
#: twice.
_INDEXES: Final = (
    sa.Index("ix_studies_study_name", _STUDIES.c.study_name, unique=True),
    sa.Index("ix_trials_study_id", _TRIALS.c.study_id),
)
#: In which another process that is making the database has done its next step.
_PAUSE_SECONDS: Final = 0.5


def complete_schema(engine: sa.Engine) -> None:
    """Make the indexes that a database lacks since the process that made it was killed.

    SQLite keeps each step of the making. Optuna makes tables that are missing, and never looks for
    the indexes of those that are there: without that of the names each opening makes another study
    of the same name, and the trials of the first are found no more.

    Args:
        engine: Of a database that Optuna has opened.

    Raises:
        sqlalchemy.exc.IntegrityError: It holds several studies of one name already.
    """
    if _missing(engine):
        time.sleep(_PAUSE_SECONDS)
        for index in _missing(engine):
            index.create(engine, checkfirst=True)


def _missing(engine: sa.Engine) -> list[sa.Index]:
    found = sa.inspect(engine)
    return [
        index
        for index in _INDEXES
        if index.table is not None
        and all(each["name"] != index.name for each in found.get_indexes(index.table.name))
    ]
