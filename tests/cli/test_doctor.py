"""`automl doctor` as a user types it."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AUTOML_HOME", str(tmp_path / "home"))


def test_a_machine_that_works_is_told_within_80_columns(automl: Any) -> None:
    status, out, err = automl("doctor")
    assert (status, err) == (0, "")
    said = out.partition("\nfolders:")[0]  # a path is not folded: it is copied from here
    assert max(map(len, said.splitlines())) <= 80
    assert f"onnxruntime {metadata.version('onnxruntime')}" in out
    assert "nothing that is needed is broken" in out


def test_what_lacks_is_told_with_what_installs_it(
    automl: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "requires", lambda _: ["no-such-package-of-ours>=1"])
    status, out, _ = automl("doctor")
    assert status == 2
    broken = out.partition("\nbroken:\n")[2].splitlines()
    assert broken == [
        " no-such-package-of-ours: not installed",
        " mend with        pip install 'no-such-package-of-ours>=1'",
    ]


def test_the_same_as_json(automl: Any) -> None:
    status, out, _ = automl("doctor", "--json")
    found = json.loads(out)
    assert (status, found["problems"]) == (0, [])
    assert found["runtimes"]["onnxruntime"] == metadata.version("onnxruntime")
