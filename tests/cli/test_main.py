"""The command: what it asks the pipeline for, what it prints, and how errors end it."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from automl import pipeline
from automl.cli.main import run
from automl.cost import Budget, Limit
from automl.errors import InfeasibleError, StudyError, TargetError
from automl.pipeline.requests import (
    ApplyRequest,
    ApplyResult,
    Event,
    Metrics,
    ProfileRequest,
    ProfileResult,
    SearchRequest,
    SearchResult,
    VerifyRequest,
    VerifyResult,
)
from automl.policy.file import write_policy
from automl.userdata.scores import Logits
from policy_files import POLICY, policy_file

DENSE = Metrics(0.93, 2.0e-3, 0.08, 2.1e-3, 1.2e7, 2.4e5)
SMALL = Metrics(0.915, 1.0e-3, 0.08, 1.05e-3, 5.0e6, 1.1e5)

MINE = """
import torch
from torch import nn

def network():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 2))

def loaders():
    part = [(torch.zeros(4, 3, 2, 2), torch.zeros(4, dtype=torch.long))]
    return part, part, part

def grayscale():
    part = [(torch.zeros(4, 1, 2, 2), torch.zeros(4, dtype=torch.long))]
    return part, part
"""
MODEL = ("--model", "mine.py:network", "--data", "mine.py:loaders")
BUDGET = ("--target", "cpu", "--budget", "50%")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model, data and a policy."""
    (tmp_path / "mine.py").write_text(MINE)
    write_policy(policy_file(), tmp_path / "policy.json")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    return tmp_path


@pytest.fixture
def automl(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs the command in the working folder: (exit status, stdout, stderr)."""

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["automl", *words])
        with pytest.raises(SystemExit) as ended:
            run()
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    return call


class Pipeline:
    """Stands in for the pipeline: keeps what is asked and answers what is set."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.request: Any = None

    def __call__(self, request: Any, on_event: Callable[[Event], None]) -> Any:
        self.request = request
        on_event(Event("study", 1, 4, 0.9))
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def result(**changes: Any) -> SearchResult:
    found = SearchResult(
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
        (("search", *BUDGET, "--model", "mine.py:network"), "needs --data file.py:loaders"),
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


def test_apply_makes_the_smaller_model(
    automl: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = ApplyResult(
        model=torch.nn.Identity(),
        dense=DENSE,
        compressed=SMALL,
        scored_on="4 test inputs",
        weights_path=Path("model.pt"),
        export_path=Path("m.onnx"),
        export_error=3e-7,
    )
    fake = Pipeline(answer)
    monkeypatch.setattr(pipeline, "apply", fake)
    words = ("policy.json", *MODEL, "--finetune", "2", "--export", "m.onnx", "--seed", "4")
    status, out, _ = automl("apply", *words)
    request = fake.request
    assert isinstance(request, ApplyRequest)
    assert request.policy.policy == POLICY
    assert (request.epochs, request.export, request.seed) == (2, Path("m.onnx"), 4)
    assert status == 0
    assert "ONNX: m.onnx (largest difference from PyTorch 3e-07)" in out
    assert out.splitlines()[-1].startswith(
        "Next: automl verify policy.json --model mine.py:network"
    )
    _, out, _ = automl("apply", *words, "--json")
    assert "model" not in json.loads(out)


def test_verify_prints_predicted_beside_measured(
    automl: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Pipeline(VerifyResult(DENSE, SMALL, "this machine"))
    monkeypatch.setattr(pipeline, "verify", fake)
    status, out, _ = automl("verify", "policy.json", *MODEL)
    assert isinstance(fake.request, VerifyRequest)
    assert (status, fake.request.target) == (0, "cpu")
    assert "the prediction is -4.8 % from the measurement" in out
    automl("verify", "policy.json", *MODEL, "--target", "here", "--threads", "2")
    assert (fake.request.target, fake.request.threads) == ("here", 2)


def test_profile_needs_no_data(automl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = ProfileResult("this machine", Path("t.jsonl"), 10, 3, 6, ("softmax 5x5",))
    fake = Pipeline(answer)
    monkeypatch.setattr(pipeline, "profile", fake)
    status, out, _ = automl("profile", "--model", "mine.py:network", "--input-shape", "3x2x2")
    assert isinstance(fake.request, ProfileRequest)
    assert (status, fake.request.input_shape) == (0, (1, 3, 2, 2))
    assert "asked for 10 operators: 3 were known, 6 measured now, 1 refused" in out
    assert "refused: softmax 5x5" in out
    automl("profile", "--ops", "ops.jsonl", "--target", "cpu")
    assert (fake.request.model, fake.request.ops) == (None, Path("ops.jsonl"))
    status, _, err = automl("profile", "--model", "mine.py:network")
    assert (status, "needs --input-shape CxHxW or --data" in err) == (2, True)


def test_show_draws_what_is_kept(automl: Any) -> None:
    status, out, _ = automl("show", "policy.json")
    assert status == 0
    rows = {words[0]: words[1:] for words in map(str.split, out.splitlines()) if words}
    assert rows["stem"] == ["█" * 12 + "░" * 12, "8/16"]
    assert rows["left"] == ["█" * 6 + "░" * 18, "4/16"]
    assert "blocks left out: block" in out
    assert "resolution 16" in out
    assert "predicted: 1.00 ms ±8 % (100 % measured), 5.00 MMACs, 100 kB" in out
    assert max(map(len, out.splitlines()[:-1])) <= 80
    assert out.splitlines()[-1] == (
        "Next: automl apply policy.json --model mine.py:net --data FILE.py:NAME --export model.onnx"
    )


def test_show_marks_groups_of_blocks_that_are_left_out(automl: Any, folder: Path) -> None:
    path = folder / "policy.json"
    content = json.loads(path.read_text())
    content["channels"]["stage.1.conv"] = {"dense": 8, "kept": 8}
    content["removed"] = ["stage.1", "stage.2"]
    path.write_text(json.dumps(content))
    _, out, _ = automl("show", "policy.json")
    lines = [line.split() for line in out.splitlines()]
    assert ["stage.1.conv", "left", "out"] in lines
    assert ["stage.2", "left", "out"] in lines


def test_show_as_json_is_the_file(automl: Any, folder: Path) -> None:
    _, out, _ = automl("show", "policy.json", "--json")
    assert json.loads(out) == json.loads((folder / "policy.json").read_text())


def test_targets_fit_in_80_columns(
    automl: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOML_HOME", str(folder))
    status, out, _ = automl("targets")
    assert status == 0
    assert max(map(len, out.splitlines())) <= 80
    assert any(line.split()[:1] == ["cpu"] for line in out.splitlines())
    _, out, _ = automl("targets", "--json")
    assert "cpu" in {target["name"] for target in json.loads(out)}


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
