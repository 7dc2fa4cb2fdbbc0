"""The command: what it asks the pipeline for, what it prints, and how errors end it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from command import BUDGET, MODEL, Pipeline

from automl import __version__, pipeline
from automl.cli.main import run
from automl.cost import Budget, Limit
from automl.errors import InfeasibleError, StudyError, TargetError


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


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Permission denied", "/etc/x"), "/etc/x: Permission denied"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (FileNotFoundError("no usable temporary folder"), "no usable temporary folder"),
        (EOFError(), "something reads from standard input, which has ended"),
        (SystemExit(0), "code of the model or of its data ended the program: it called sys.exit(0"),
        (SystemExit("bye"), "ended the program: it called sys.exit('bye')"),
    ],
)
def test_what_the_system_and_the_users_code_do_is_one_line(
    automl: Any, searching: Pipeline, error: BaseException, said: str
) -> None:
    searching.answer = error
    status, out, err = automl("search", *MODEL, *BUDGET)
    assert (status, out, len(err.strip().splitlines())) == (2, "", 1)
    assert said in err


def test_an_interrupt_that_nobody_asked_for_is_told(
    automl: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def search(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "search", search)
    status, _, err = automl("search", *MODEL, *BUDGET)
    said = "automl: code of the model or of its data raised KeyboardInterrupt by itself\n"
    assert (status, err) == (2, said)


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
        (
            ("search", *BUDGET, *MODEL, "--input-shape", "3x4x4"),
            "does not run on an input of shape 1x3x4x4",
        ),
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
    assert automl("--version") == (0, f"automl {__version__}\n", "")


def test_a_shell_is_told_how_a_line_may_go_on(automl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_AUTOML_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "automl sea")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert automl() == (0, "search\n", "")


def test_the_script_for_a_shell_is_shown(automl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # where the shell that runs the tests is none that is known, the name that is given counts
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    status, out, err = automl("--show-completion", "bash")
    assert (status, err) == (0, "")
    assert "complete -o default -F _automl_completion automl" in out
