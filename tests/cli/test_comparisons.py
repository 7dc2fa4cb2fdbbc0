"""`automl compare` as a user types it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from automl.policy.file import write_policy
from policy_files import POLICY, policy_file


def test_what_differs_is_told_within_80_columns(automl: Any, folder: Path) -> None:
    other = replace(POLICY, channels={**POLICY.channels, "stem": 4})
    write_policy(policy_file(other), folder / "other.json")
    status, out, err = automl("compare", "policy.json", "other.json")
    assert (status, err) == (0, "")
    (row,) = [line.split() for line in out.splitlines() if line.split()[:1] == ["stem"]]
    assert row[1] == "channels"
    assert row[2:5:2] == ["8", row[4]]
    assert max(map(len, out.splitlines())) <= 80
    assert out.splitlines()[-1] == "Next: automl show policy.json"
    _, out, _ = automl("compare", "policy.json", "other.json", "--json")
    (difference,) = json.loads(out)["differences"]
    assert difference["part"] == "stem"


def test_the_same_and_what_cannot_be_compared_are_said(automl: Any, folder: Path) -> None:
    _, out, _ = automl("compare", "policy.json", "policy.json")
    assert "they choose the same" in out
    file = policy_file()
    model = file.model.model_copy(update={"fingerprint": "another"})
    write_policy(file.model_copy(update={"model": model}), folder / "other.json")
    status, _, err = automl("compare", "policy.json", "other.json")
    assert status == 2
    assert err.startswith("automl: the policies are of different models")
    assert err.count("\n") == 1
