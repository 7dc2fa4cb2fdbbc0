"""What is written into Optuna's tables is what Optuna writes, in fewer statements."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from automl.study.tables import LAYOUT, TrialTables

DISTRIBUTIONS = {
    "channels": IntDistribution(4, 12, step=4),
    "bits": CategoricalDistribution(("w4a32", "w8a8")),
}
TRIALS = (
    optuna.trial.create_trial(
        value=1 / 3,
        params={"channels": 8, "bits": "w8a8"},
        distributions=DISTRIBUTIONS,
        user_attrs={"cost": {"macs": 1e9, "latency": None}, "reason": "é"},
    ),
    optuna.trial.create_trial(
        state=TrialState.PRUNED,
        params={"channels": 4, "bits": "w4a32"},
        distributions=DISTRIBUTIONS,
        user_attrs={"asked": 8},
    ),
    optuna.trial.create_trial(state=TrialState.FAIL, user_attrs={"reason": "torn"}),
)


@pytest.fixture
def storage(tmp_path: Path) -> RDBStorage:
    found = RDBStorage(f"sqlite:///{tmp_path / 'study.db'}")
    for name in ("ours", "optunas"):
        optuna.create_study(study_name=name, storage=found, direction="maximize")
    return found


def ignore(_: sa.Connection) -> None:
    pass


def told(trial: FrozenTrial) -> dict[str, object]:
    return {key.strip("_"): value for key, value in vars(trial).items() if key != "_trial_id"}


def test_trials_are_those_that_optuna_writes(storage: RDBStorage) -> None:
    assert storage.get_current_version() == LAYOUT
    tables = TrialTables(storage, "ours", ignore)
    optunas = optuna.load_study(study_name="optunas", storage=storage)
    for number, trial in enumerate(TRIALS):
        assert tables.add(trial, number) == number
        optunas.add_trial(trial)
    ours = optuna.load_study(study_name="ours", storage=storage)
    assert [told(each) for each in ours.trials] == [told(each) for each in optunas.trials]
    assert ours.best_trial.number == 0
    optunas.add_trial(TRIALS[0])  # Optuna goes on in either
    ours.add_trial(TRIALS[0])
    assert ours.trials[-1].number == len(TRIALS)


def test_a_number_that_is_taken_is_not_written(storage: RDBStorage) -> None:
    tables = TrialTables(storage, "ours", ignore)
    assert tables.add(TRIALS[0], 0) == 0
    assert tables.add(TRIALS[1], 0) == 1
    assert tables.add(TRIALS[1], 2) == 1
    (found,) = optuna.load_study(study_name="ours", storage=storage).trials
    assert found.value == TRIALS[0].value


def test_what_is_refused_in_the_transaction_is_not_written(storage: RDBStorage) -> None:
    def refuse(_: sa.Connection) -> None:
        raise PermissionError

    with pytest.raises(PermissionError):
        TrialTables(storage, "ours", refuse).add(TRIALS[0], 0)
    assert TrialTables(storage, "ours", ignore).add(TRIALS[0], 0) == 0


def test_few_statements_write_a_trial(storage: RDBStorage) -> None:
    tables, sent = TrialTables(storage, "ours", ignore), []
    many = {f"group{i}": IntDistribution(1, 64) for i in range(100)}
    trial = optuna.trial.create_trial(
        value=1.0, params=dict.fromkeys(many, 3), distributions=many, user_attrs={"asked": 8}
    )
    sa.event.listen(storage.engine, "before_cursor_execute", lambda *said: sent.append(said))
    tables.add(trial, 0)
    assert len(sent) <= 6
