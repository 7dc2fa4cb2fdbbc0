"""Rows, their front, and their JSON."""

from __future__ import annotations

import json
from typing import Any

from automl.sweep.results import (
    SearchRow,
    SweepResult,
    result_to_json,
    row_from_json,
    row_to_json,
    with_front,
)


def row(case: str, score: float | None, seconds: float | None, **changes: Any) -> SearchRow:
    given: dict[str, Any] = {
        "model": "m",
        "data": "d",
        "target": "t",
        "budget": ("50%",),
        "agent": "tpe",
        "seed": 0,
        "state": "COMPLETE",
    }
    return SearchRow(case=case, score=score, predicted_seconds=seconds, **given | changes)


def test_the_front_is_of_one_target_and_data() -> None:
    rows = with_front(
        [
            row("best", 0.9, 3.0),
            row("fast", 0.8, 1.0),
            row("beaten", 0.8, 2.0),
            row("equal", 0.9, 3.0),
            row("elsewhere", 0.1, 9.0, target="other"),
            row("other data", 0.1, 9.0, data="other"),
            row("stopped", 0.99, None, state="STOPPED"),
            row("failed", None, None, state="FAILED"),
        ]
    )
    assert [each.case for each in rows if each.on_front] == [
        "best",
        "fast",
        "equal",
        "elsewhere",
        "other data",
    ]


def test_without_a_time_the_front_is_of_work() -> None:
    rows = with_front([row("much", 0.9, None, macs=2.0), row("more", 0.9, None, macs=3.0)])
    assert [each.on_front for each in rows] == [True, False]
    cycles = row("chip", 0.9, None, predicted_cycles=5.0)
    assert cycles.cost == 5.0


def test_rows_survive_json_and_keys_of_later_versions() -> None:
    first = row("a", 0.5, 0.1, budget=("1ms", "4MB"))
    found = json.loads(json.dumps(row_to_json(first)))
    assert row_from_json(found | {"unheard": 1}) == first


def test_the_document_holds_rows_and_front() -> None:
    result = SweepResult("s", "out", with_front([row("a", 0.5, 0.1), row("b", 0.4, 0.2)]), 1)
    found = json.loads(result_to_json(result))
    assert [each["case"] for each in found["rows"]] == ["a", "b"]
    assert found["front"] == ["a"]
    assert found["skipped"] == 1
