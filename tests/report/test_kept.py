"""What a search kept is checked when it is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_runs import outcome, start

from automl.errors import StudyError
from automl.report.kept import KeptOutcome, KeptStart, read_kept


def test_both_files_are_read_and_keys_of_later_versions_left_out(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps(start(later="unknown")), encoding="utf-8")
    assert read_kept(path, KeptStart).variables[0].options == ("left out", "stays")
    path.write_text(json.dumps(outcome()), encoding="utf-8")
    assert read_kept(path, KeptOutcome).layers[2].channels == (16, 8)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ('{"seed": "x"}', "seed"),
        ('{"variables": [{"kind": 3}]}', "variables.0.kind"),
        ("[]", "run.json"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StudyError, match=said):
        read_kept(path, KeptStart)
