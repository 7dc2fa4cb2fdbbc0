"""What a host program set of Optuna's log stays, and nothing of ours is in it."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from automl.agents.registry import make_agent
from automl.study.loop import StudySettings, run_study
from automl.study.optuna_logging import quiet_optuna
from automl.study.storage import delete_study
from automl.testing import made_problem, sensitivity_of


@pytest.mark.parametrize("level", [optuna.logging.DEBUG, optuna.logging.INFO, optuna.logging.ERROR])
def test_a_search_leaves_the_level_and_writes_nothing(
    level: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(level)
    try:
        problem, url = made_problem(4), f"sqlite:///{tmp_path}/study.db"
        agent = make_agent("optuna-tpe", problem, 0)
        settings = StudySettings(trials=3, storage_url=url)
        found = run_study(problem, agent, lambda p: -sensitivity_of(problem, p), settings)
        assert optuna.logging.get_verbosity() == level
        delete_study(url, "search")
        assert optuna.logging.get_verbosity() == level
    finally:
        optuna.logging.set_verbosity(before)
    assert len(found.trials) == 3
    assert capfd.readouterr().err == ""


def test_the_level_is_put_back_when_a_call_raises() -> None:
    before = optuna.logging.get_verbosity()
    seen = []

    @quiet_optuna()
    def fail() -> None:
        seen.append(optuna.logging.get_verbosity())
        raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert seen[0] >= optuna.logging.WARNING
    assert optuna.logging.get_verbosity() == before
