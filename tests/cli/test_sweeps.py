"""`automl sweep`: what it says, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Automl = Callable[..., tuple[int, str, str]]
TINY = Path(__file__).resolve().parents[1] / "pipeline" / "tiny.py"


@pytest.fixture
def recipe(folder: Path) -> Path:
    """Two searches of the tiny model, of which one cannot be."""
    from tiny import write_table

    write_table(folder / "board.jsonl")
    path = folder / "few.toml"
    path.write_text(
        f"""
        [common]
        model = "{TINY}:model"
        data = "{TINY}:loaders"
        score = "{TINY}:agreement"
        target = "board.jsonl"
        agent = "uniform"
        round_to = 4
        resolutions = [12, 16]
        trials = 2
        [grid]
        budget = ["60%", "0.1%"]
        """
    )
    return path


def test_a_table_and_json(automl: Automl, recipe: Path, folder: Path) -> None:
    status, out, err = automl("sweep", str(recipe))
    assert status == 0
    assert "60pct: complete, score" in err
    assert "0.1pct: infeasible" in err
    assert "2 searches: 1 infeasible, 1 complete" in out
    assert "the least is" in out
    lines = out.splitlines()
    assert "board" in lines
    (row,) = [line for line in lines if line.strip().startswith("60%")]
    assert "uniform" in row
    assert "* " in row  # on the front
    assert all(len(line) <= 80 for line in lines if "%" in line and "least" not in line)
    assert (folder / "runs" / "few" / "results.json").is_file()
    status, out, err = automl("sweep", str(recipe), "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert found["skipped"] == 2
    assert {each["state"] for each in found["rows"]} == {"COMPLETE", "INFEASIBLE"}


def test_what_is_wrong_is_one_line(automl: Automl, recipe: Path, folder: Path) -> None:
    (folder / "file").write_text("")
    for words, said in (
        (("none.toml",), "none.toml"),
        ((str(recipe), "--out", "file/out"), "cannot be written: Not a directory (--out)"),
        ((str(recipe), "--ray", "nowhere"), "expected auto, local or HOST:PORT"),
    ):
        status, out, err = automl("sweep", *words)
        assert (status, out) == (2, "")
        assert said in err
        assert err.count("\n") == 1
