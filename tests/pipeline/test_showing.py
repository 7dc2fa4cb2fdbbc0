"""Results show themselves: escaped text, what is known alone, and the front as a figure."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from command import result
from made_runs import make_run, trial_line

from automl.errors import StudyError

EVIL = "<script>alert(1)</script>\x1b[2J"


def test_a_result_shows_dense_beside_compressed_with_escaped_text() -> None:
    found = result(notes=(EVIL,), target=EVIL, interrupted=True)
    text = found._repr_html_()
    assert "<script" not in text
    assert "\x1b" not in text
    assert "&lt;script&gt;" in text
    assert "best so far" in text
    for word in ("0.93", "0.915", "2.00 ms ± 8 %", "2.10 ms", "110 kB"):
        assert word in text, word


def test_what_is_not_known_has_no_row() -> None:
    dense = replace(result().dense, measured_seconds=None)
    small = replace(result().compressed, measured_seconds=None)
    assert (
        "measured" not in result(dense=dense, compressed=small)._repr_html_().partition("<ul>")[0]
    )


def test_a_policy_shows_its_choices_with_escaped_names() -> None:
    file = result().policy
    odd = file.model_copy(update={"model": file.model.model_copy(update={"name": EVIL})})
    text = odd._repr_html_()
    assert "<script" not in text
    assert "What it chooses" in text


def test_the_front_is_drawn_of_the_run_s_log(tmp_path: Path) -> None:
    figure = result(out=make_run(tmp_path / "run")).plot()
    trials, front = figure.data
    assert (trials.name, len(trials.x)) == ("trials", 12)
    assert front.name == "front"
    assert list(front.y) == sorted(front.y)
    assert list(front.x) == sorted(front.x)
    assert max(front.y) == max(trials.y)
    assert "latency (ms)" in figure.layout.xaxis.title.text


def test_one_bad_trial_stands_at_the_edge_and_a_button_shows_all(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    bad = trial_line(12, random.Random(1)) | {"score": 0.1, "latency": 0.004}
    with (folder / "log.jsonl").open("a") as log:
        log.write(json.dumps(bad) + "\n")
    figure = result(out=folder).plot()
    low, high = figure.layout.yaxis.range
    trials, front = figure.data
    assert 0.1 < low < min(front.y) < max(trials.y) < high
    assert low < trials.y[-1]
    assert trials.marker.symbol[-1] == "triangle-down"
    assert "0.1" in trials.text[-1]
    assert "1 lower" in figure.layout.yaxis.title.text
    near, whole = figure.layout.updatemenus[0].buttons
    assert whole.args[0]["y"][0][-1] == 0.1
    assert whole.args[1]["yaxis.autorange"] is True
    assert near.args[1]["yaxis.range"] == [low, high]


def test_a_run_without_trials_has_no_figure(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"log\.jsonl"):
        result(out=tmp_path).plot()
    (tmp_path / "log.jsonl").write_text("")
    with pytest.raises(StudyError, match="no trial"):
        result(out=tmp_path).plot()
