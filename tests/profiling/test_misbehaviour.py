"""Workers that lie, babble, hang or die: one line says what was found, the table stays whole."""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from automl.errors import MeasureError
from automl.latency.header import TableHeader
from automl.latency.keys import OpKey
from automl.latency.table import LatencyTable
from automl.profiling import pipe, runner, ssh
from automl.profiling.measuring import measure_models, profile
from automl.profiling.runner import LocalRunner
from automl.profiling.runtimes import runtime_of_table
from automl.profiling.ssh import COMMAND, Host, SSHRunner
from automl.profiling.worker_state import state

#: Says what a real worker says until its fifth request, the first that is not of the anchor.
FAKE = """#!{python}
import json, os, sys, time
STATE = json.loads({state!r})
def say(line):
    os.write(1, (line if isinstance(line, str) else json.dumps(line)).encode() + b"\\n")
hello = {{"python": "3.9", "machine": "x86_64", "onnxruntime": "1.0", "state": STATE, "load": 0.0}}
first = {{"probe": 0, "seconds": 1e-4, "spread": 0.01, "runs": 9}}
FIRST = 4
def greet(): say(hello)
def answer(answer): say(answer)
def finish(done): say(done)
{lies}
greet()
for count, line in enumerate(sys.stdin, start=1):
    asked, lying = json.loads(line), count > FIRST
    for probe in range(len(asked["probes"])):
        true = {{"id": asked["id"], **first, "probe": probe}}
        (answer if lying else say)(true)
    done = {{"id": asked["id"], "done": True, "stolen": 0.0, "state": STATE}}
    (finish if lying else say)(done)
"""
KEYS = [OpKey("linear", 8, width) for width in (8, 16, 24)]


def with_field(**changes: object) -> str:
    """A lie of a worker: fields of an answer."""
    return f"def answer(answer): say({{**answer, **{changes!r}}})".replace("nan", "float('nan')")


def said(line: str) -> str:
    """A lie of a worker: a line before each answer."""
    return f"def answer(answer): say({line}); say(answer)"


Fake = Callable[[str], None]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Makes both kinds of runners start a worker with these lies."""

    def make(lies: str) -> None:
        path = tmp_path / "fake"
        path.write_text(FAKE.format(python=sys.executable, state=json.dumps(state()), lies=lies))
        path.chmod(0o755)
        monkeypatch.setenv(COMMAND, str(path))

    return make


def open_runner(where: str, folder: Path) -> LocalRunner | SSHRunner:
    return SSHRunner(Host("me@board")) if where == "ssh" else LocalRunner(python=f"{folder}/fake")


def new_table(folder: Path) -> LatencyTable:
    header = TableHeader(name="board", device="Board", runtime="onnxruntime")
    return LatencyTable.create(folder / "board.jsonl", header)


def refused(where: str, folder: Path) -> str:
    """What a profile with the worker is refused with; the table is whole, and goes on later."""
    table = new_table(folder)
    with pytest.raises(MeasureError) as error, open_runner(where, folder) as worker:
        profile(table, KEYS, worker)
    message = str(error.value)
    assert "\n" not in message
    assert message.isprintable()
    assert len(message) < 700
    read = LatencyTable.read(folder / "board.jsonl")
    assert read.rows == table.rows
    assert len(read) == 1 or not len(read)  # the anchor, where it came so far
    return message


LIES = {
    **{
        f"seconds {str(value)[:9]}": (with_field(seconds=value), "cannot be: seconds: ")
        for value in ("fast", None, True, -1e-3, 0, 1e-30, 1e6, 1e308, float("nan"), [1.0], {})
    },
    "seconds inf": (with_field(seconds=1e999).replace("inf", "float('inf')"), "cannot be: seconds"),
    "seconds of 400 digits": (with_field(seconds=10**400), "cannot be: seconds"),
    **{
        f"spread {value}": (with_field(spread=value), "cannot be: spread: ")
        for value in (-0.5, "wide", None, 1e300, float("nan"))
    },
    **{
        f"runs {str(value)[:9]} {len(str(value))}": (with_field(runs=value), "cannot be: runs: ")
        for value in ("many", -1, 1.5, True, 10**16, 10**400)
    },
    **{
        f"probe {str(value)[:9]}": (with_field(probe=value), "cannot be: probe: ")
        for value in (-1, "0", 0.0, None, True, 10**400)
    },
    "another probe": (with_field(probe=99), "answers probe 99, not asked of it"),
    "twice": ("def answer(answer): say(answer); say(answer)", "answers probe 0, not asked of it"),
    "no seconds": ("def answer(answer): answer.pop('seconds'); say(answer)", "seconds: Field req"),
    "no probe": ("def answer(answer): answer.pop('probe'); say(answer)", "probe: Field required"),
    "no id": ("def answer(answer): answer.pop('id'); say(answer)", "probes unanswered"),
    "another id": (with_field(id=99), "probes unanswered"),
    "nothing": ("def answer(answer): pass", "probes unanswered"),
    "an empty error": (with_field(error=""), "cannot be: error: "),
    "an error that is none": (with_field(error=["no"]), "cannot be: error: "),
    "not alive": (with_field(alive=False), "cannot be: alive: "),
    "done before": ("def answer(answer): finish({**answer, 'done': True})", "cannot be: stolen: "),
    "done without state": ("def finish(done): done.pop('state'); say(done)", "state: Field requ"),
    "done in part": ("def finish(done): say({**done, 'done': 'nearly'})", "cannot be: done: "),
    "done with another state": ("def finish(done): say({**done, 'state': {}})", "processor: Field"),
    **{
        f"stolen {value}": (
            f"def finish(done): say({{**done, 'stolen': {value}}})",
            "cannot be: stolen: ",
        )
        for value in ("'all'", "-1", "1.5", "float('nan')", "None")
    },
    "dies": ("def answer(answer): os._exit(3)", "the worker ended with status 3|with status 3"),
    "dies of a signal": ("def answer(answer): os.kill(os.getpid(), 9)", "with status -9|status -9"),
    "dies in a line": ("def answer(answer): os.write(1, b'{\"id\": 5, '); os._exit(4)", "status 4"),
    "complains and dies": (
        "def answer(answer): os.write(2, b'y' * 10**6 + b'\\nwhy \\x1b[2J'); os._exit(5)",
        r"status 5: why \\x1b\[2J",
    ),
}


@pytest.mark.parametrize("where", ["here", "ssh"])
@pytest.mark.parametrize(("lies", "expected"), LIES.values(), ids=LIES)
def test_a_lie_is_one_line(
    fake: Fake, tmp_path: Path, where: str, lies: str, expected: str
) -> None:
    fake(lies)
    assert re.search(expected, refused(where, tmp_path))


NOISE = {
    "text": "'garbage'",
    "half of JSON": "'{garbage'",
    "a list": "'[1]'",
    "brackets": "'{\"a\":' * 5000",
    "numbers of 5,000 digits": "'{\"id\": 5' + '0' * 5000 + '}'",
    "another's answer": "{'id': 4, 'probe': 0, 'seconds': 'no'}",
    "signs of life": "{'id': asked_id(), 'alive': True}",
    "long lines": "'x' * 20_000_000",
    "escapes": "'\\x1b[2J\\x07'",
}


@pytest.mark.parametrize("line", NOISE.values(), ids=NOISE)
def test_noise_is_skipped(fake: Fake, tmp_path: Path, line: str) -> None:
    fake(f"def asked_id(): return asked['id']\n{said(line)}")
    table = new_table(tmp_path)
    with open_runner("here", tmp_path) as worker:
        assert profile(table, KEYS, worker).measured == len(KEYS)
    assert len(LatencyTable.read(tmp_path / "board.jsonl")) == 1 + len(KEYS)


def test_bytes_that_are_no_text_are_skipped(fake: Fake, tmp_path: Path) -> None:
    fake("def answer(answer): os.write(1, bytes(range(256)) + b'{\\xff}\\n'); say(answer)")
    with open_runner("here", tmp_path) as worker:
        assert profile(new_table(tmp_path), KEYS, worker).measured == len(KEYS)


GREETINGS = {
    "no state": ("hello.pop('state')", "cannot be: state: Field required"),
    "a state that is none": ("hello['state'] = 'fine'", "cannot be: state: "),
    "a load that is none": ("hello['load'] = 'x'", "cannot be: load: "),
    "a load without bound": ("hello['load'] = float('inf')", "cannot be: load: "),
    "a machine that is none": ("hello['machine'] = 3", "cannot be: machine: "),
    "a machine of megabytes": ("hello['machine'] = 'm' * 10**6", "cannot be: machine: "),
    "a processor of megabytes": ("STATE['processor'] = 'm' * 10**6", "cannot be: processor: "),
    "no processor": ("del STATE['processor']", "cannot be: processor: Field required"),
    "cores below one": ("STATE['cores'] = 0", "cannot be: cores: "),
    "cores without end": ("STATE['cores'] = 10**400", "cannot be: cores: "),
    "a clock below nothing": ("STATE['clock_hertz'] = -1.0", "cannot be: clock_hertz: "),
    "a temperature of NaN": ("STATE['temperature'] = float('nan')", "cannot be: temperature: "),
    "a state within a state": ("STATE['gpu'] = {'a': {'b': []}}", "cannot be: gpu: "),
    "saturation that is none": (
        "hello['saturates'] = {'onnxruntime': 'yes'}",
        "cannot be: saturat",
    ),
    "no runtime": ("del hello['onnxruntime']", "the worker has no runtime 'onnxruntime'"),
    "a version that is none": ("hello['onnxruntime'] = 1", "'onnxruntime' is not installed"),
    "no version": ("hello['onnxruntime'] = ''", "'onnxruntime' is not installed"),
    "a version of megabytes": ("hello['onnxruntime'] = '1' * 10**6", "is not installed"),
    "runtimes with escapes": ("del hello['onnxruntime']; hello['onnxrun\\x1b[2J'] = '1'", "has no"),
    "another object": ("hello.clear()", "cannot be: "),
    "death": ("def greet(): os._exit(7)", "status 7"),
}


@pytest.mark.parametrize("where", ["here", "ssh"])
@pytest.mark.parametrize(("lies", "expected"), GREETINGS.values(), ids=GREETINGS)
def test_a_greeting_that_cannot_be_is_one_line(
    fake: Fake, tmp_path: Path, where: str, lies: str, expected: str
) -> None:
    fake(lies)
    assert expected in refused(where, tmp_path)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines of half a second, which a worker that behaves keeps on any machine here."""

    def quickly(name: str) -> object:
        return replace(runtime_of_table(name), silence=0.5)

    monkeypatch.setattr(runner, "runtime_of_table", quickly)
    monkeypatch.setattr(pipe, "_FAREWELL", 0.1)
    monkeypatch.setattr(ssh, "_FAREWELL", 0.1)


HANGS = {
    "silence": ("def answer(answer): time.sleep(1000)", "has said nothing of what it was asked"),
    "chatter": ("def answer(answer):\n    while True: say('working')", "has said nothing of"),
    "a line without end": ("def answer(answer):\n    while True: os.write(1, b'x' * 65536)", "has"),
    "old answers": (
        "def answer(answer):\n    while True: say({**answer, 'id': 1})",
        "said nothing",
    ),
    "answers to nobody": ("def answer(answer):\n    while True: say({'a': 1})", "said nothing of"),
    "life for ever": (
        "def answer(answer):\n    while True: say({'id': answer['id'], 'alive': True})",
        "has said nothing of",
    ),
    "a closed output": ("def answer(answer): os.close(1); time.sleep(1000)", "status -9"),
    "complaints": (
        "def answer(answer):\n    while True: os.write(2, b'no ' * 999)",
        "said nothing",
    ),
}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("where", ["here", "ssh"])
@pytest.mark.parametrize(("lies", "expected"), HANGS.values(), ids=HANGS)
def test_each_request_has_a_deadline(
    fake: Fake, tmp_path: Path, where: str, lies: str, expected: str
) -> None:
    fake(lies)
    assert expected in refused(where, tmp_path)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("noise", ["time.sleep(1000)", "os.write(1, b'noise ' * 999)"])
def test_a_worker_that_does_not_read_is_given_up(fake: Fake, tmp_path: Path, noise: str) -> None:
    fake(
        f"sys.stdin = type('Deaf', (), {{'__iter__': lambda _: iter(deaf, 0)}})()\n"
        f"def deaf():\n    while True: {noise}"
    )
    with (
        open_runner("here", tmp_path) as worker,
        pytest.raises(MeasureError, match="has read nothing for"),
    ):
        measure_models({"more than a pipe holds": random.Random(0).randbytes(1_000_000)}, worker)


@pytest.mark.parametrize("lies", ["time.sleep(1000)", "while True: say('motd')"])
@pytest.mark.parametrize("where", ["here", "ssh"])
def test_a_greeting_has_a_deadline(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, lies: str
) -> None:
    monkeypatch.setattr("automl.profiling.runner.GREETING", 0.2)
    fake(f"def greet():\n    {lies}")
    assert "nothing was said within 0.2 s" in refused(where, tmp_path)


def test_a_connection_that_is_lost_again_and_again_ends(fake: Fake, tmp_path: Path) -> None:
    fake("FIRST = 0\ndef answer(answer): os._exit(255)")
    assert "lost 5 times in a row before anything was answered" in refused("ssh", tmp_path)


@pytest.mark.parametrize("where", ["here", "ssh"])
def test_whole_networks_are_believed_as_little(fake: Fake, tmp_path: Path, where: str) -> None:
    fake(f"FIRST = 0\n{with_field(seconds=float('nan'))}")
    with open_runner(where, tmp_path) as worker, pytest.raises(MeasureError, match="seconds: "):
        measure_models({"mine": b"x"}, worker)
