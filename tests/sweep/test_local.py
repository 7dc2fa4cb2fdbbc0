"""One after another in this process."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_sweeps import MakeRecipe

from automl.sweep.local import run_here
from automl.sweep.results import SearchRow
from automl.sweep.running import Searcher
from automl.sweep.store import ResultStore


def test_ctrl_c_leaves_the_rest_undone(
    recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = recipe(common={"agent": "uniform"}, grid={"budget": ["0.1%", "0.2%", "0.3%"]}).cases
    told: list[SearchRow] = []
    run = Searcher.run

    def run_once(self: Searcher, *given: object) -> SearchRow:
        if told:
            raise KeyboardInterrupt
        return run(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Searcher, "run", run_once)
    rows, interrupted = run_here(cases, ResultStore(str(tmp_path / "out")), told.append)
    assert interrupted
    assert rows == told
    assert [row.case for row in rows] == ["0.1pct"]
