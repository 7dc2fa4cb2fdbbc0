"""The command: what it asks the pipeline for, what it prints, and how errors end it."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from command import BUDGET, DENSE, MODEL, SMALL, Pipeline

from automl import pipeline
from automl.cli.main import run
from automl.cost import Budget, Limit
from automl.errors import InfeasibleError, StudyError, TargetError
from automl.pipeline.requests import (
    SearchRequest,
    SearchResult,
)
from automl.userdata.scores import Logits
from policy_files import policy_file


def result(**changes: Any) -> SearchResult:
    found = SearchResult(
        model=torch.nn.Identity(),
        dense=DENSE,
        compressed=SMALL,
        policy=policy_file(),
        policy_path=Path("runs/x/policy.json"),
        out=Path("runs/x"),
        trials=12,
        target="this machine, onnxruntime, 1 thread",
        scored_on="4 test inputs",
        notes=("head is left alone: it writes the classes",),
    )
    return replace(found, **changes)


@pytest.fixture
def searching(monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    fake = Pipeline(result())
    monkeypatch.setattr(pipeline, "search", fake)
    return fake


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
    ("error", "status"),
    [
        (InfeasibleError(Budget((Limit("latency", 1e-3),)), {"latency": 2e-3}), 3),
        (TargetError("no target 'gpu' (did you mean cpu?)"), 2),
    ],
)
def test_errors_are_one_line_and_have_their_status(
    automl: Any, searching: Pipeline, error: Exception, status: int
) -> None:
    searching.answer = error
    assert automl("search", *MODEL, *BUDGET) == (status, "", f"automl: {error}\n")


def test_an_error_is_shown_with_the_flags_that_mend_it(automl: Any, searching: Pipeline) -> None:
    options = ("resume", "keep_first_last", "profile")
    searching.answer = StudyError("holds a study already", options=options)
    _, _, err = automl("search", *MODEL, *BUDGET)
    assert err == "automl: holds a study already (--resume, --keep-first-last, --import)\n"


def test_debug_shows_the_traceback(
    folder: Path, searching: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    searching.answer = TargetError("no target")
    monkeypatch.setattr(sys, "argv", ["automl", "search", *MODEL, *BUDGET, "--debug"])
    with pytest.raises(TargetError):
        run()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--budget", "50%,50%"), "--budget: 50% is asked for twice"),
        (
            ("--budget", "2ms,4ms", "--ssh", "me@board"),
            "--ssh: a search needs a board only where it measures (--measure)",
        ),
        (("--budget", "4MB", "--measure"), "--measure: needs a budget of time"),
        (("--budget", "4ms", "--measure", "--resume"), "--measure: such a search does not resume"),
        (("--budget", "4ms", "--measure", "--front", "3"), "--measure: makes the prices of one"),
        (("--budget", "2ms,4ms", "--front", "3"), "--front: is spread from one budget"),
        (("--budget", "4ms", "--keep-first-last"), "--keep-first-last: holds layers in 8 bits"),
        (("--budget", "4ms", "--python", "python2"), "--python: is the boards' interpreter"),
    ],
)
def test_flags_that_exclude_each_other_are_refused_before_the_model_is_loaded(
    automl: Any, words: Any, message: str
) -> None:
    status, _, err = automl("search", "--model", "no.py:one", "--target", "cpu", *words)
    assert (status, err.startswith(f"automl: {message}")) == (2, True), err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("search",), "--target: has to be given: Device, or path of a table"),
        (("search", "--target", "cpu"), "--budget: has to be given: 10ms, 50%"),
        (("search", *MODEL, "--target", "cpu", "--budget", "50"), "--budget: '50' has no unit"),
        (("search", *BUDGET, "--time", "soon"), "--time: expected a time such as 90s"),
        (("search", *BUDGET, "--round-to", "0"), "--round-to: expected auto or a whole"),
        (("search", *BUDGET, "--resolutions", "big"), "--resolutions: expected auto, off"),
        (("search", *BUDGET, "--agent", "unifrom"), "--agent: no agent 'unifrom' (did"),
        (("search", *BUDGET, "--trials", "0"), "--trials: expected a whole number"),
        (("search", *BUDGET, "--buget", "1"), "No such option: --buget (did you mean --budget?)"),
        (("serch",), "No such command 'serch'. Did you mean 'search'?"),
        (("search", *BUDGET, "--data", "mine.py:loaders"), "give --model too"),
        (("search", *BUDGET, "--model", "mine.py:network"), "needs data (--data)"),
        (("search", *BUDGET, *MODEL, "--input-shape", "3x4x4"), "that of the data, which is 3x2x2"),
        (("search", *BUDGET, *MODEL, "--weights", "w.pt"), "there is no weights file w.pt"),
        (("search", *BUDGET, *MODEL, "--data", "mine.py:grayscale"), "does not take inputs of"),
        (("show", "polcy.json"), "No such file or directory (did you mean policy.json?)"),
        (("apply",), "Missing argument 'POLICY'"),
    ],
)
def test_what_the_user_can_mend_ends_with_2(automl: Any, words: Any, message: str) -> None:
    status, out, err = automl(*words)
    assert (status, out) == (2, "")
    assert message in err
    assert err.startswith("automl: ")
    assert err.count("\n") == 1


def test_help_loads_nothing_heavy() -> None:
    script = """
        import sys
        from automl.cli.main import run
        heavy = {"torch", "optuna", "onnx", "onnxruntime", "scipy", "numpy", "ray"}
        try:
            run()
        finally:
            print("HEAVY", heavy & set(sys.modules), file=sys.stderr)
    """
    environment = {"PYTHONPATH": str(Path(__file__).resolve().parents[2] / "search")}
    for words in (["--help"], ["search", "--help"], []):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script), *words],
            capture_output=True,
            text=True,
            env=environment,
            check=True,
        )
        assert "Usage: automl" in done.stdout
        assert done.stderr == "HEAVY set()\n"


def test_an_unexpected_error_is_one_line_unless_debugging(folder: Path) -> None:
    # a bug of ours, made by breaking what the command stands on
    script = """
        import automl.cli.main, automl.policy.file
        automl.policy.file.read_policy = lambda path: {}["gone"]
        automl.cli.main.run()
    """
    environment = {"PYTHONPATH": str(Path(__file__).resolve().parents[2] / "search")}

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        code = textwrap.dedent(script)
        command = [sys.executable, "-c", code, "show", "policy.json", *words]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    plain, debug = call(), call("--debug")
    assert (plain.returncode, debug.returncode) == (1, 1)
    assert plain.stderr.startswith("automl: unexpected KeyError: 'gone' (")
    assert plain.stderr.count("\n") == 1
    assert "Traceback" in debug.stderr


def test_version(automl: Any) -> None:
    assert automl("--version") == (0, "automl 0.1.0\n", "")
