"""The page in a real browser: figures are drawn, texts are there, nothing is complained of."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from made_runs import make_run, make_staged, make_sweep

from automl.report import write_report

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def opened(path: Path, folder: Path) -> str:
    """The document after its scripts; fails where the console has anything to say."""
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            *(
                CHROMIUM,
                *QUIET,
                f"--user-data-dir={folder / 'browser'}",
                "--virtual-time-budget=30000",
            ),
            *("--enable-logging=stderr", "--window-size=1100,1400", "--dump-dom", path.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert said == []
    return done.stdout


def test_a_run_is_drawn_whole(tmp_path: Path) -> None:
    shown = opened(write_report([make_run(tmp_path / "run")]).path, tmp_path)
    assert shown.count('data-drawn="yes"') == shown.count('class="chart') == 9
    assert 'data-drawn="all"' in shown
    for text in ("92.00", "The front", "its channels are the output", "torch", "25.0", "budget"):
        assert text in shown
    words = re.sub(r"<[^>]*>", " ", shown.partition('<script id="data"')[0])
    assert not re.search(r"undefined|NaN|\[object", words)


def test_errors_of_scores_are_shown_where_they_are_known(tmp_path: Path) -> None:
    def words(name: str) -> str:
        score = {"name": name, "ranked_by": name}
        folder = make_run(tmp_path / f"run-{name}", score=score)
        if name == "map50":
            outcome = json.loads((folder / "outcome.json").read_text())
            for side in ("dense", "compressed"):
                outcome[side] |= {"score_error": None, "change_error": None}
            (folder / "outcome.json").write_text(json.dumps(outcome))
        return opened(write_report([folder]).path, tmp_path).replace("&nbsp;", " ")

    assert "0.92 dB ± 0.01" in (pictures := words("psnr"))
    assert "\u22120.01 ± 0.003" in pictures
    assert "of the change by the differences input by input" in pictures
    assert "not known: this score gives one number for all inputs" in words("map50")
    assert "92.00 % ± 1.00" in (classes := words("top-1 accuracy"))
    assert "\u22121.00 points ± 0.30" in classes


def test_sweeps_and_several_runs_are_drawn(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name) for name in ("one", "other")]
    page = write_report([*runs, make_sweep(tmp_path / "sweep")], tmp_path / "all.html").path
    shown = opened(page, tmp_path)
    assert "Runs beside each other" in shown
    sweep = write_report([make_sweep(tmp_path / "alone")]).path
    shown = opened(sweep, tmp_path)
    assert shown.count('data-drawn="yes"') == 2
    assert "behind the best" in shown


@pytest.mark.parametrize("removed", ["run.json", "outcome.json"])
def test_what_is_there_of_a_damaged_run_is_shown(tmp_path: Path, removed: str) -> None:
    folder = make_run(tmp_path / "run")
    (folder / removed).write_text('{"at_seconds', encoding="utf-8")
    shown = opened(write_report([folder]).path, tmp_path)
    assert "damaged" in shown or removed in shown
    assert "The answer" in shown


def test_hostile_names_are_texts(tmp_path: Path) -> None:
    evil = "<img src=x onerror=console.error(1)></script>"
    folder = make_run(tmp_path / "run", command=evil, left_alone=[{"name": evil, "reason": evil}])
    log = folder / "log.jsonl"
    log.write_text(log.read_text() + json.dumps({"at_seconds": 99, "stage": evil}) + "\n")
    shown = opened(write_report([folder]).path, tmp_path)
    assert "<img src=x" not in shown


def test_a_search_in_stages_is_drawn_as_one(tmp_path: Path) -> None:
    shown = opened(write_report([make_staged(tmp_path / "run")]).path, tmp_path)
    for text in ("Stages of this search", "stage-1", "stage-2", "kd:4", "1" * 12, "6" * 12):
        assert text in shown.partition('<script id="data"')[0]
    words = re.sub(r"<[^>]*>", " ", shown.partition('<script id="data"')[0])
    assert not re.search(r"undefined|NaN|\[object", words)
