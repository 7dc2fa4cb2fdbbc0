"""`automl search`: what it asks the pipeline for, and what it prints."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command import BUDGET, DENSE, MODEL, SMALL, Pipeline, result

from automl import pipeline
from automl.pipeline.requests import (
    SearchRequest,
)
from automl.userdata.scores import Logits


def test_search_asks_for_what_the_flags_say(automl: Any, searching: Pipeline) -> None:
    flags = "--agent uniform --trials 7 --time 2min --seed 3 --round-to 8 --no-depth --threads 2"
    more = "--resolutions off --calibration 3 --out here --resume --budget 4MB"
    most = "--full-scores --no-warm-start --storage sqlite:///own.db"
    status, _, _ = automl("search", *MODEL, *BUDGET, *flags.split(), *more.split(), *most.split())
    assert status == 0
    request = searching.request
    assert isinstance(request, SearchRequest)
    assert request == SearchRequest(
        task=request.task,
        target="cpu",
        budget=("50%", "4MB"),
        out=Path("here"),
        agent="uniform",
        trials=7,
        time=120.0,
        seed=3,
        resume=True,
        storage="sqlite:///own.db",
        round_to=8,
        depth=False,
        resolutions=(),
        calibration=3,
        threads=2,
        full_scores=True,
        warm_start=False,
    )
    assert request.task.input_shape == (1, 3, 2, 2)
    assert request.task.data.calibration.images == 3


def test_search_takes_the_rest_from_automl_toml(
    automl: Any, searching: Pipeline, folder: Path
) -> None:
    (folder / "automl.toml").write_text(
        'model = "mine.py:network"\ndata = "mine.py:loaders"\ntarget = "rpi4"\nbudget = "9ms"\n'
        "depth = false\nresolutions = [160, 192]\nround_to = 4\nseed = 5\n"
        'score = "logits"\nfull_scores = true\nwarm_start = false\n'
    )
    status, out, _ = automl("search", "--seed", "0", "--warm-start")
    request = searching.request
    assert status == 0
    assert (request.target, request.budget, request.seed) == ("rpi4", ("9ms",), 0)
    assert (request.depth, request.resolutions, request.round_to) == (False, (160, 192), 4)
    assert (request.full_scores, request.warm_start) == (True, True)
    assert isinstance(request.task.score, Logits)
    assert request.task.score_name == "logits"
    assert "--model" not in out.splitlines()[-1]


def test_budgets_with_commas_are_several_searches_in_automl_toml_too(
    automl: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[SearchRequest, list[tuple[str, ...]]]] = []

    def front(request: SearchRequest, budgets: Sequence[tuple[str, ...]], *_: Any) -> Any:
        asked.append((request, [*budgets]))
        return (result(), result())

    monkeypatch.setattr(pipeline, "search_front", front)
    (folder / "automl.toml").write_text(
        'model = "mine.py:network"\ndata = "mine.py:loaders"\ntarget = "rpi4"\n'
        'budget = ["2ms,4ms", "4MB"]\nstorage = "sqlite:///own.db"\n'
    )
    assert automl("search")[0] == 0
    assert automl("search", "--budget", "1ms,3ms")[0] == 0
    (first, filed), (_, flagged) = asked
    assert filed == [("2ms", "4MB"), ("4ms", "4MB")]
    assert first.storage == "sqlite:///own.db"
    assert flagged == [("1ms",), ("3ms",)]


def test_search_prints_dense_beside_compressed_and_what_to_type_next(
    automl: Any, searching: Pipeline
) -> None:
    status, out, err = automl("search", *MODEL, *BUDGET)
    assert (status, err) == (0, "")
    rows = {line[:18].strip(): line[18:].split() for line in out.splitlines()}
    assert rows["accuracy"] == ["93.00", "%", "91.50", "%", "-1.50", "points"]
    assert rows["predicted latency"] == [
        *("2.00", "ms", "±8", "%"),
        *("1.00", "ms", "±8", "%"),
        *("x", "0.500"),
    ]
    assert rows["measured latency"] == ["2.10", "ms", "1.05", "ms", "x", "0.500"]
    assert "4 calibration, 4 validation, 4 test inputs" in out
    assert "note: head is left alone" in out
    assert out.splitlines()[-1] == (
        "Next: automl apply runs/x/policy.json --model mine.py:network --data mine.py:loaders "
        "--export runs/x/model.onnx"
    )


def test_figures_that_are_not_known_are_not_printed(automl: Any, searching: Pipeline) -> None:
    unknown = {"predicted_seconds": None, "error": None, "measured_seconds": None}
    searching.answer = result(dense=replace(DENSE, **unknown), compressed=replace(SMALL, **unknown))
    _, out, _ = automl("search", *MODEL, *BUDGET)
    assert "latency" not in out
    assert "12.0 MMACs" in out


def test_search_prints_one_json_document(automl: Any, searching: Pipeline) -> None:
    searching.answer = result(dense=replace(DENSE, predicted_seconds=float("nan")))
    _, out, _ = automl("search", *MODEL, *BUDGET, "--json")
    found = json.loads(out)
    assert found["compressed"]["measured_seconds"] == 1.05e-3
    assert found["dense"]["predicted_seconds"] is None
    assert found["policy"]["removed"] == ["block"]
    assert found["policy_path"] == "runs/x/policy.json"


def test_an_interrupted_search_prints_its_best_and_ends_with_130(
    automl: Any, searching: Pipeline
) -> None:
    searching.answer = result(interrupted=True)
    status, out, err = automl("search", *MODEL, *BUDGET)
    assert (status, err) == (130, "automl: interrupted\n")
    assert "policy: runs/x/policy.json" in out
    searching.answer = KeyboardInterrupt()
    assert automl("search", *MODEL, *BUDGET) == (130, "", "automl: interrupted\n")


def test_runs_of_the_same_name_are_numbered(automl: Any, searching: Pipeline, folder: Path) -> None:
    automl("search", *MODEL, *BUDGET)
    assert searching.request.out == Path("runs/network-cpu-50pct")
    (folder / "runs/network-cpu-50pct").mkdir(parents=True)
    automl("search", *MODEL, *BUDGET)
    assert searching.request.out == Path("runs/network-cpu-50pct"), "no study began there"
    (folder / "runs/network-cpu-50pct/study.db").touch()
    automl("search", *MODEL, *BUDGET)
    assert searching.request.out == Path("runs/network-cpu-50pct-2")
    automl("search", *MODEL, *BUDGET, "--resume")
    assert searching.request.out == Path("runs/network-cpu-50pct")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--budget", "50%,50%"), "--budget: 50% is asked for twice"),
        (
            ("--budget", "2ms,4ms", "--ssh", "me@board"),
            "--ssh: a search needs a board only where it measures (--measure)",
        ),
        (("--budget", "4MB", "--measure"), "--measure: needs a budget of time"),
        (("--budget", "4ms", "--measure", "--front", "3"), "--measure: makes the prices of one"),
        (("--budget", "2ms,4ms", "--front", "3"), "--front: is spread from one budget"),
        (
            ("--budget", "4ms", "--keep-first-last", "--precisions", "float"),
            "--keep-first-last: holds layers in 8 bits",
        ),
        (("--budget", "4ms", "--python", "python2"), "--python: is the boards' interpreter"),
    ],
)
def test_flags_that_exclude_each_other_are_refused_before_the_model_is_loaded(
    automl: Any, words: Any, message: str
) -> None:
    status, _, err = automl("search", "--model", "no.py:one", "--target", "cpu", *words)
    assert (status, err.startswith(f"automl: {message}")) == (2, True), err


def test_without_a_model_the_example_is_one_that_the_budget_bites_on(
    automl: Any, searching: Pipeline
) -> None:
    status, out, _ = automl("search", "--target", "jetson", "--budget", "10ms")
    task = searching.request.task
    assert status == 0
    assert (task.model_name, task.score_name) == (
        "automl.example.denoiser.model:pretrained",
        "psnr",
    )
    assert (task.input_shape, task.data.input_shape) == ((1, 3, 480, 640), (1, 3, 64, 64))
    assert [note for note in task.notes if "the denoiser is searched" in note] == [*task.notes]
    assert searching.request.out.name.startswith("denoiser-jetson-10ms")
    assert out.splitlines()[-1].startswith("Next: automl apply")
    automl("search", "--target", "jetson", "--budget", "10ms", "--example", "classifier")
    task = searching.request.task
    assert (task.model_name, task.notes) == ("automl.example.model:pretrained", ())
