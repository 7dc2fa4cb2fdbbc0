"""`automl sweep`: what it says, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from automl.cli import sweeps
from automl.sweep import SearchRow, SweepResult

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


@pytest.mark.parametrize(
    ("state", "reason", "expected"),
    [
        ("FAILED", "there is no file none.py", 2),
        ("INFEASIBLE", "no policy meets it", 3),
    ],
)
def test_a_sweep_that_found_nothing_says_so_and_ends_as_a_search_would(
    automl: Automl,
    recipe: Path,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
    reason: str,
    expected: int,
) -> None:
    row = SearchRow(
        case="a",
        model="m.py:a",
        data="d.py:a",
        target="board",
        budget=("60%",),
        agent="random",
        seed=0,
        state=state,  # type: ignore[arg-type]
        reason=reason,
    )
    answer = SweepResult("few", "out", (row,))
    monkeypatch.setattr("automl.sweep.run_sweep", lambda *_, **__: answer)
    status, out, _ = automl("sweep", str(recipe))
    assert status == expected
    assert "none of them found a policy" in out
    status, out, _ = automl("sweep", str(recipe), "--json")
    assert status == expected
    assert json.loads(out)["rows"][0]["reason"] == reason


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


def test_searches_that_differ_in_nothing_that_is_shown_stand_by_their_names(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = tuple(
        SearchRow(
            case=f"a-long-name-of-a-search-with-everything-in-it-round_to-{count}",
            model="m.py:a",
            data="d.py:a",
            target="board",
            budget=("60%",),
            agent="random",
            seed=0,
            state="COMPLETE",
            score=0.9,
            predicted_seconds=0.0123,
            measured_seconds=0.0131,
            seconds=12345.6,
        )
        for count in range(9)
    )
    sweeps._print(SweepResult("phones", "/shared/phones", rows))
    out = capsys.readouterr().out
    for figure in ("0.9000", "12.3 ms", "13.1 ms", "12345.6 s"):
        assert out.count(figure) == 9
