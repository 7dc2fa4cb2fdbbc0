"""Several budgets at once share what they can, and each keeps its own promise."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from tiny import request, write_table

from automl.errors import InfeasibleError, OptionError, StudyError, UsageError
from automl.pipeline.front import search_front
from automl.pipeline.requests import Event, SearchRequest
from automl.policy.file import read_policy


@pytest.fixture
def asked(tmp_path: Path) -> SearchRequest:
    return request(write_table(tmp_path / "plain.jsonl"), tmp_path / "front", "50%MACs")


def test_each_budget_is_met_and_the_preparation_shared(asked: SearchRequest) -> None:
    stages: Counter[str] = Counter()

    def count(event: Event) -> None:
        stages[event.stage] += event.done == 0

    results = search_front(asked, [("40%MACs",), ("70%MACs",)], on_event=count)
    macs = [result.compressed.macs / result.dense.macs for result in results]
    assert macs[0] <= 0.4
    assert macs[1] <= 0.7
    assert stages["calibrating"] == 1
    assert stages["reading the network"] == 1
    assert [read_policy(result.policy_path).budget for result in results] == [
        ("40%MACs",),
        ("70%MACs",),
    ]
    assert len({result.out for result in results}) == 2


def test_no_policy_is_scored_twice(asked: SearchRequest) -> None:
    seen: list[tuple[float, ...]] = []
    score = asked.task.score

    def counted(model, batches) -> float:  # type: ignore[no-untyped-def]
        if weights := tuple(float(p.sum()) for p in model.parameters()):
            seen.append(weights)  # one that ignores its input, for chance, has none
        return score(model, batches)

    task = replace(asked.task, score=counted)
    # The same limit, written in two ways: the same policies, and only the first run scores them.
    results = search_front(replace(asked, task=task), [("50%MACs",), ("50.1%MACs",)])
    first, second = results
    assert first.trials == second.trials
    assert first.compressed == second.compressed
    # Beside the trials of one run: the dense network, and the finished one of each, which is asked
    # whether its refit made it worse first.
    assert len(seen) == first.trials + 1 + 2 * 2


def test_each_budget_is_given_the_best_that_fits_whoever_found_it(asked: SearchRequest) -> None:
    # One random trial each: the larger budgets' own are not always the best.
    one = replace(asked, agent="random", trials=1, full_scores=True)
    results = search_front(one, [("80%MACs",), ("75%MACs",), ("70%MACs",), ("65%MACs",)])
    trials = [_only_trial(result.out) for result in results]
    limits = [0.8, 0.75, 0.7, 0.65]
    taken = []
    for result, share in zip(results, limits, strict=True):
        fitting = [each for each in trials if each[1] <= share * result.dense.macs]
        taken.append(trials.index(max(fitting)))
        assert result.compressed.macs == trials[taken[-1]][1]
    assert taken != [0, 1, 2, 3]


def _only_trial(folder: Path) -> tuple[float, float]:
    """Score and multiply-accumulates of what the study in a folder tried."""
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{folder / 'study.db'}")
    return study.best_value, study.best_trial.user_attrs["cost"]["macs"]


def test_a_front_in_a_database_of_ones_own(asked: SearchRequest, tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'own.db'}"
    kept = replace(asked, storage=address)
    results = search_front(kept, [("40%MACs",), ("70%MACs",)])
    names = optuna.get_all_study_names(address)
    assert sorted(names) == sorted(result.out.as_posix() for result in results)
    assert not list(asked.out.rglob("study.db"))
    study = optuna.load_study(study_name=names[0], storage=address)
    assert study.trials  # what optuna-dashboard shows: values, states, parameters
    for each in study.trials:
        assert each.state.name == "COMPLETE"
        assert each.value is not None
        assert {"resolution", "channels:stem"} <= each.params.keys()
    again = search_front(replace(kept, resume=True), [("40%MACs",), ("70%MACs",)])
    assert [each.compressed for each in again] == [each.compressed for each in results]


def test_a_password_is_not_shown(asked: SearchRequest) -> None:
    with pytest.raises(StudyError, match=r"study storage \w+://me:\*\*\*@nowhere") as raised:
        search_front(replace(asked, storage="nosuch://me:secret@nowhere/db"), [("40%MACs",)])
    assert "secret" not in str(raised.value)


def test_a_front_goes_from_the_budget_to_the_dense_network(asked: SearchRequest) -> None:
    results = search_front(asked, [("40%MACs",)], 3)
    assert [result.policy.budget for result in results] == [
        ("40%MACs",),
        ("60%MACs",),
        ("80%MACs",),
    ]


def test_all_budgets_are_checked_before_anything_is_searched(asked: SearchRequest) -> None:
    with pytest.raises(InfeasibleError, match="MACs"):
        search_front(asked, [("70%MACs",), ("0.01%MACs",)])
    assert not list(asked.out.rglob("policy.json"))


def test_what_takes_one_budget_is_refused(asked: SearchRequest) -> None:
    with pytest.raises(OptionError, match="front: is spread from one budget"):
        search_front(asked, [("40%MACs",), ("70%MACs",)], 3)
    with pytest.raises(OptionError, match="measure: makes the prices of one budget better"):
        search_front(replace(asked, budget=("40%",), measure=True), [("40%MACs",)])


@pytest.mark.parametrize(
    ("budgets", "said"),
    [
        ([], "at least one is needed"),
        ([("5ms",), ()], "at least one is needed"),
        ([("40%MACs",), ("70%MACs",), ("40%MACs",)], "40%MACs is asked for twice"),
    ],
)
def test_budgets_that_make_no_front_are_refused_before_any_work(
    asked: SearchRequest, budgets: list[tuple[str, ...]], said: str
) -> None:
    with pytest.raises(OptionError, match=said):
        search_front(asked, budgets)
    assert not asked.out.exists()


@pytest.mark.parametrize(
    ("budgets", "said"),
    [
        ([("40%MACs",), ("50%MACs",), ("50.0%MACs",)], "50%MACs and 50.0%MACs are one search"),
        ([("100%MACs",)], None),
    ],
)
def test_budgets_that_are_one_are_refused_before_anything_is_searched(
    asked: SearchRequest, budgets: list[tuple[str, ...]], said: str | None
) -> None:
    stages: list[str] = []
    count = 0 if said else 3  # from the dense cost to the dense cost there is nothing to spread
    with pytest.raises(UsageError, match=said or "are one search"):
        search_front(asked, budgets, count, lambda event: stages.append(event.stage))
    assert set(stages) == {"reading the network"}
    assert not list(asked.out.rglob("study.db"))


def test_a_folder_that_holds_a_study_is_refused_before_another_is_searched(
    asked: SearchRequest,
) -> None:
    search_front(asked, [("70%MACs",)])
    with pytest.raises(StudyError, match="holds a study already"):
        search_front(asked, [("40%MACs",), ("70%MACs",)])
    assert not (asked.out / "40pctMACs" / "study.db").exists()


def test_budgets_that_the_dense_network_meets_need_no_context(asked: SearchRequest) -> None:
    stages: list[str] = []
    results = search_front(
        asked, [("100%MACs",), ("1GMACs",)], on_event=lambda event: stages.append(event.stage)
    )
    assert "calibrating" not in stages
    assert [result.trials for result in results] == [0, 0]
