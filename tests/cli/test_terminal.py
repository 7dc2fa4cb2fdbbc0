"""The command's streams: what they show, what closes them, what goes past them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command import BUDGET, MODEL, Pipeline, result

from automl.cli.render import print_table
from automl.cli.terminal import Stream, answering, complain, leave_stdout, say
from automl.errors import OutputError, StudyError
from policy_files import policy_file

SEARCH = str(Path(__file__).resolve().parents[2] / "search")
OBEYED = "\x1b[2J\x07\u202e\x9b1m"
SHOWN = r"\x1b[2J\x07\u202e\x9b1m"


def automl_with(streams: str, *words: str) -> subprocess.CompletedProcess[str]:
    """The command with its streams as a shell is told."""
    line = f'"$@" {streams}'
    command = [
        "bash",
        "-c",
        f"set -o pipefail; {line}",
        "-",
        sys.executable,
        "-m",
        "automl",
        *words,
    ]
    environment = {**os.environ, "PYTHONPATH": SEARCH}
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, check=False, timeout=600
    )


@pytest.mark.parametrize("words", [("targets",), ("targets", "--json"), ("--help",)])
@pytest.mark.parametrize(
    ("streams", "said"),
    [
        ("| true", "stdout cannot be written: Broken pipe"),
        ("> /dev/full", "stdout cannot be written: No space left on device"),
        (">&-", "stdout is closed: there is nowhere to print the answer to"),
    ],
)
def test_a_stdout_that_is_closed_or_full_is_one_line(
    words: tuple[str, ...], streams: str, said: str
) -> None:
    done = automl_with(streams, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"automl: {said}\n"


def test_other_streams_may_be_closed() -> None:
    done = automl_with("<&- 2>&-", "targets")
    assert (done.returncode, done.stderr) == (0, "")
    assert "rpi4" in done.stdout
    assert automl_with("2> /dev/full", "serch").returncode == 2


def test_what_a_terminal_would_obey_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with answering():
        say(f"two lines of {OBEYED}\nand more")
        print_table(("name", "value"), [(f"layer{OBEYED}", "1")])
    complain(f"no {OBEYED}\nmore")
    out, err = capsys.readouterr()
    assert out.count("\n") > 4
    assert "\x1b" not in out + err
    assert out.startswith(f"two lines of {SHOWN}\nand more\n")
    assert f"layer{SHOWN}" in out
    assert err == f"no {SHOWN}\\nmore\n"


def test_errors_and_answers_of_the_command_are_shown(automl: Any, searching: Pipeline) -> None:
    searching.answer = StudyError(f"the layer {OBEYED} is odd")
    status, _, err = automl("search", *MODEL, *BUDGET)
    assert (status, err) == (2, f"automl: the layer {SHOWN} is odd\n")
    searching.answer = result(notes=(f"{OBEYED} is left alone",))
    status, out, err = automl("search", *MODEL, *BUDGET)
    assert (status, err) == (0, "")
    assert f"note: {SHOWN} is left alone" in out
    status, out, err = automl("search", *MODEL, *BUDGET, "--nothing\x1b[2J")
    assert r"No such option: --nothing\x1b[2J" in err


def test_a_policys_own_names_are_shown(
    automl: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = policy_file()
    odd = file.model_copy(update={"model": file.model.model_copy(update={"name": OBEYED})})
    monkeypatch.setattr("automl.policy.read_policy", lambda path: odd)
    status, out, _ = automl("show", "policy.json")
    assert status == 0
    assert out.startswith(SHOWN)


def test_what_cannot_be_encoded_is_an_escape() -> None:
    under = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    stream = Stream(under, answer=True)
    assert stream.write("grün ±\n") == 7
    stream.flush()
    stream.close()
    assert under.buffer.getvalue() == b"gr\\xfcn \\xb1\n"  # type: ignore[attr-defined]
    assert not under.closed


def test_who_prints_to_a_full_stderr_goes_on() -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        Stream(full, answer=False).write("x" * 100_000)
        with pytest.raises(OutputError, match="No space left on device"):
            Stream(full, answer=True).write("x" * 100_000)


def test_users_code_prints_to_stderr_and_cannot_close_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with answering():
        leave_stdout()
        print("from the user")
        sys.stdout.close()
        print("again")
        say("answer")
    print("after")
    assert capsys.readouterr() == ("answer\nafter\n", "from the user\nagain\n")


RUN = """
import os, sys, threading, time
import automl.cli.main, automl.cli.searches, automl.cli.terminal
def search(*_, **__):
    print("python"); os.write(1, b"descriptor\\n"); os.system("echo program")
    sys.stdout.flush()
    if "--json" in sys.argv:
        threading.Thread(target=time.sleep, args=(600,), name="the user's").start()
        automl.cli.terminal.FAREWELL = 0.1
    automl.cli.terminal.say("{}")
def targets(json: bool = False):
    automl.cli.terminal.leave_stdout()
    search()
automl.cli.main.app.command("mine")(targets)
automl.cli.main.run()
"""


@pytest.mark.parametrize("words", [("mine",), ("mine", "--json")])
def test_the_answer_is_alone_on_stdout_and_threads_do_not_keep_the_process(
    words: tuple[str, ...],
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN, *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": SEARCH},
        check=False,
        timeout=300,
    )
    assert (done.returncode, json.loads(done.stdout)) == (0, {})
    assert {"python", "descriptor", "program"} <= {*done.stderr.splitlines()}
    note = "automl: note: threads that did not end are ended: the user's"
    assert (note in done.stderr) == ("--json" in words)
