"""A sweep's rows with what their policies chose."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_runs import make_sweep, policy

from automl.errors import StudyError
from automl.report.sweeps import is_sweep, read_sweep


def test_rows_are_read_with_their_policies(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "sweep")
    assert is_sweep(folder)
    found = read_sweep(folder)
    assert len(found["rows"]) == 8
    chosen = {"blocks left out": 1, "channels kept": 0.75, "mean bits of weights": 8.0}
    assert found["rows"][0]["chosen"] == chosen
    parts = found["rows"][0]["parts"]
    assert parts["channels of l0"] == "8"
    assert parts["bits of l0"] == "8, 8"
    assert parts["block b1"] == "left out"
    assert found["rows"][0]["source"] == "predicted"
    fitted = policy()
    fitted["predicted"] |= {"measured": 0.0, "interpolated": 0.0, "fitted": 1.0}
    (folder / "case-1" / "policy.json").write_text(json.dumps(fitted))
    assert read_sweep(folder)["rows"][1]["source"] == "fitted"


def test_damaged_rows_and_policies_are_said(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "sweep")
    document = json.loads((folder / "results.json").read_text())
    document["rows"] += [3, {"case": "../outside"}]
    (folder / "results.json").write_text(json.dumps(document))
    (folder / "case-0" / "policy.json").write_text("{")
    found = read_sweep(folder)
    assert len(found["rows"]) == 9
    assert "1 rows" in found["problems"][0]
    assert "case-0" in found["problems"][1]
    assert found["rows"][8]["chosen"] is None


@pytest.mark.parametrize("text", ["{", "[]", '{"rows": 3}'])
def test_results_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(StudyError, match=r"results\.json"):
        read_sweep(tmp_path)
