"""Several budgets at once share what they can, and each keeps its own promise."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import request, write_table

from automl.errors import InfeasibleError, UsageError
from automl.pipeline.front import search_front
from automl.policy_file import read_policy
from automl.requests import Event, SearchRequest


@pytest.fixture
def asked(tmp_path: Path) -> SearchRequest:
    return request(write_table(tmp_path / "plain.jsonl"), tmp_path / "front", "50%MACs")


def test_each_budget_is_met_and_the_preparation_shared(asked: SearchRequest) -> None:
    stages: Counter[str] = Counter()

    def count(event: Event) -> None:
        stages[event.stage] += event.done == 0

    results = search_front(asked, [("40%MACs",), ("70%MACs",)], on_event=count)
    macs = [result.compressed.macs / result.dense.macs for result in results]
    assert macs[0] <= 0.4 < macs[1] <= 0.7
    assert stages["calibrating"] == 1
    assert stages["reading the network"] == 1
    assert [read_policy(result.policy_path).budget for result in results] == [
        ("40%MACs",),
        ("70%MACs",),
    ]
    assert len({result.out for result in results}) == 2


def test_no_policy_is_scored_twice(asked: SearchRequest) -> None:
    seen: list[tuple[float, ...]] = []
    score = asked.subject.score

    def counted(model, batches) -> float:  # type: ignore[no-untyped-def]
        seen.append(tuple(float(p.sum()) for p in model.parameters()))
        return score(model, batches)

    subject = replace(asked.subject, score=counted)
    # The same limit, written in two ways: the same policies, and only the first run scores them.
    results = search_front(replace(asked, subject=subject), [("50%MACs",), ("50.0%MACs",)])
    first, second = results
    assert first.trials == second.trials
    assert first.compressed == second.compressed
    # Beside the trials of one run: the dense and the finished network of each.
    assert len(seen) == first.trials + 4


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
    with pytest.raises(UsageError, match="give it one"):
        search_front(asked, [("40%MACs",), ("70%MACs",)], 3)
    with pytest.raises(UsageError, match="--measure"):
        search_front(replace(asked, measure=True), [("40%MACs",)])
