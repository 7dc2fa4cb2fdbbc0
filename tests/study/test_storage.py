"""Finished trials come back from a storage as they went in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution

from automl.cost import Cost
from automl.errors import SpaceError, StudyError
from automl.policy.policy import Bits, Policy
from automl.space import KINDS, Space, Variable
from automl.study.identity import Identity
from automl.study.problem import Completed, Failed, Infeasible, Trial
from automl.study.storage import TrialStore, delete_study
from automl.testing import MADE_UP
from toy_kind import known

IDENTITY = Identity("random", 0, "weights", "data", "space", "prices", "1 MB")
COST = Cost(float("nan"), 2.0, 3.0)
#: The quantities that it does not know, as numbers.
UNKNOWN = dict.fromkeys(("latency", "joules", "measured", "interpolated", "fitted"), 0.0)
VARIABLES = (
    Variable("resolution", "", (16, 32)),
    Variable("block", "b", (0, 1)),
    Variable("channels", "g", (4, 8, 12)),
    Variable("channels", "uneven", (4, 8, 9)),
    Variable("bits", "c", (Bits(4, 32), Bits(8, 8), Bits())),
    Variable("taper", "c2", (1, 2, 4, None)),
    Variable("taper", "c3", (None,)),
)


def trial(number: int, policy: Policy, images: int | None = None) -> Completed:
    return Completed(number, policy, COST, 1.5, 0.5, images)


def test_what_is_stored_is_read_by_another_process(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    with known():
        space = Space(VARIABLES)
        policies = [space.decode(each) for each in space.random(12, np.random.default_rng(0))]
        with TrialStore(url, "search", space) as store:
            assert store.claim(IDENTITY, resume=False) == []
            for number, policy in enumerate(policies):
                store.add(trial(number, policy, images=7), asked=4)
        with TrialStore(url, "search", space) as store:
            found = store.claim(IDENTITY, resume=True)
        assert [told(each.trial) for each in found] == [
            told(trial(number, policy, images=7)) for number, policy in enumerate(policies)
        ]
        assert {each.asked for each in found} == {4}
        assert np.isnan(found[0].trial.cost.latency)


def told(trial: Trial) -> tuple[object, ...]:
    """A trial with the known part of its cost: what is no number is not even equal to itself."""
    return type(trial), replace(trial, cost=replace(trial.cost, **UNKNOWN))


def test_each_trial_is_read_back_as_what_came_of_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    space = Space(VARIABLES[:2])
    policy = space.decode(space.dense)
    trials: list[Trial] = [
        Failed(0, policy, COST, 0.5, "torn"),
        Infeasible(1, policy, COST, 0.0),
        Completed(2, policy, COST, 1.5, 0.0, 64),
        Completed(3, policy, COST, 1.5, -0.5),
    ]
    with TrialStore(url, "search", space) as store:
        store.claim(IDENTITY, resume=False)
        for each in trials:
            store.add(each, asked=1)
        stored = store.claim(IDENTITY, resume=True)
    assert [told(each.trial) for each in stored] == [told(each) for each in trials]
    study = optuna.load_study(study_name="search", storage=url)
    assert [(each.state.name, each.value) for each in study.trials] == [
        ("FAIL", None),
        ("PRUNED", None),
        ("COMPLETE", 0.0),
        ("COMPLETE", -0.5),
    ]
    names = [each.user_attrs["state"] for each in study.trials]
    assert names == [each.state for each in trials]


def test_options_are_parameters_that_a_dashboard_can_draw(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    with known():
        space = Space(VARIABLES)
        with TrialStore(url, "search", space) as store:
            store.claim(IDENTITY, resume=False)
            store.add(trial(0, space.decode(space.dense)), asked=1)
    (frozen,) = optuna.load_study(study_name="search", storage=url).get_trials()
    assert frozen.params == {
        "resolution": 32,
        "block:b": 1,
        "channels:g": 12,
        "channels:uneven": 9,
        "bits:c": "w32a32",
        "taper:c2": "dense",
        "taper:c3": "dense",
    }
    assert frozen.distributions["channels:g"] == IntDistribution(4, 12, step=4)
    assert frozen.distributions["channels:uneven"] == CategoricalDistribution((4, 8, 9))
    assert frozen.distributions["bits:c"] == CategoricalDistribution(("w4a32", "w8a8", "w32a32"))
    assert frozen.distributions["taper:c2"] == CategoricalDistribution(
        ("rank 1", "rank 2", "rank 4", "dense")
    )


def test_a_space_of_a_kind_that_is_not_known_here_cannot_be_stored(tmp_path: Path) -> None:
    with KINDS.including(MADE_UP):
        space = Space((Variable("made-up", "part", ("least", "dense")),))
    with pytest.raises(SpaceError, match="no kind of choice 'made-up'"):
        TrialStore(f"sqlite:///{tmp_path / 'study.db'}", "search", space)


def test_another_search_does_not_go_on_with_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    space = Space(VARIABLES[:2])
    with TrialStore(url, "search", space) as store:
        store.claim(IDENTITY, resume=False)
        store.add(trial(0, space.decode(space.dense)), asked=1)
    with TrialStore(url, "search", space) as store:
        with pytest.raises(StudyError, match="has another agent: 'random', this search 'amc'"):
            store.claim(replace(IDENTITY, agent="amc"), resume=True)
        with pytest.raises(StudyError, match="holds 1 trials already"):
            store.claim(IDENTITY, resume=False)
    delete_study(url, "search")
    with TrialStore(url, "search", space) as store:
        assert store.claim(IDENTITY, resume=False) == []


def test_a_study_of_others_is_left_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.create_study(storage=url, study_name="search", direction="maximize")
    study.optimize(lambda each: each.suggest_float("x", 0, 1), n_trials=1)
    with (
        TrialStore(url, "search", Space(VARIABLES[:2])) as store,
        pytest.raises(StudyError, match="was not written by automl"),
    ):
        store.claim(IDENTITY, resume=True)
