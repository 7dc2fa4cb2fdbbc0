"""Finished trials written into Optuna's tables by a few statements.

Optuna itself writes a trial as two queries and a row for every parameter, one after another: 0.1 s
of CPU time for the 58 of ResNet-56, and as many round trips to a server. The rows are the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

import sqlalchemy as sa
from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

#: The layout of the tables that is known here; Optuna has had it since its version 3.2.
LAYOUT: Final = "v3.2.0.a"
_TABLES: Final = ("studies", "trials", "trial_values", "trial_params", "trial_user_attributes")


class TrialTables:
    """Where one study's trials are written."""

    def __init__(
        self, storage: RDBStorage, study: str, check: Callable[[sa.Connection], None]
    ) -> None:
        """Read what the tables look like in this database.

        Args:
            storage: Of the layout that is known here.
            study: Name of the study, which exists.
            check: Called in the transaction of every trial; what it raises undoes that.
        """
        metadata = sa.MetaData()
        metadata.reflect(storage.engine, only=_TABLES)
        self._engine, self._check = storage.engine, check
        self._studies, self._trials, *rest = (metadata.tables[name] for name in _TABLES)
        self._values, self._params, self._attributes = rest
        self._study = storage.get_study_id_from_name(study)

    def add(self, trial: FrozenTrial, number: int) -> int:
        """Write a finished trial, if there are `number` in the study.

        Returns:
            How many there are; where that is another number, nothing was written.
        """
        with self._engine.connect() as connection:
            ours = self._studies.c.study_id == self._study
            connection.execute(sa.select(self._studies.c.study_id).where(ours).with_for_update())
            # the insertion comes first, as it is what locks SQLite for the others
            made = connection.execute(
                sa.insert(self._trials).values(
                    study_id=self._study,
                    number=number,
                    state=trial.state.name,
                    datetime_start=trial.datetime_start,
                    datetime_complete=trial.datetime_complete,
                )
            ).inserted_primary_key
            assert made is not None
            key = made[0]
            self._check(connection)
            before = sa.and_(self._trials.c.study_id == self._study, self._trials.c.trial_id < key)
            counted = sa.select(sa.func.count()).select_from(self._trials).where(before)
            found = connection.execute(counted).scalar_one()
            if found == number:
                self._add_parts(connection, key, trial)
                connection.commit()
        return found

    def _add_parts(self, connection: sa.Connection, key: int, trial: FrozenTrial) -> None:
        if trial.value is not None:
            value = {"objective": 0, "value": trial.value, "value_type": "FINITE"}
            connection.execute(sa.insert(self._values), [{"trial_id": key, **value}])
        params = [
            {
                "trial_id": key,
                "param_name": name,
                "param_value": trial.distributions[name].to_internal_repr(chosen),
                "distribution_json": distribution_to_json(trial.distributions[name]),
            }
            for name, chosen in trial.params.items()
        ]
        if params:
            connection.execute(sa.insert(self._params), params)
        attributes = [
            {"trial_id": key, "key": name, "value_json": json.dumps(value)}
            for name, value in trial.user_attrs.items()
        ]
        connection.execute(sa.insert(self._attributes), attributes)
