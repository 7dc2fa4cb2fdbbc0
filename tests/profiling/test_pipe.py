"""A process spoken to in lines of JSON."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from automl.errors import MeasureError
from automl.profiling.pipe import Pipe, Silence

ECHO = """
import sys
print("not JSON")
for line in sys.stdin:
    print("noise", line, sep="\\n", end="", flush=True)
"""


@contextmanager
def python(script: str) -> Iterator[Pipe]:
    pipe = Pipe([sys.executable, "-c", script])
    try:
        yield pipe
    finally:
        pipe.close()


def test_lines_go_forth_and_back_and_noise_is_skipped() -> None:
    with python(ECHO) as pipe:
        for number in range(3):
            assert pipe.write(f'{{"number": {number}}}')
            assert pipe.read() == {"number": number}


def test_a_line_that_was_cut_off_is_no_answer() -> None:
    with python("print('{\"a\": 1', end='')") as pipe:
        assert pipe.read() is None


def test_how_a_process_ended_is_told_with_what_it_complained_of() -> None:
    with python("import sys; print('why', file=sys.stderr); sys.exit(3)") as pipe:
        assert pipe.read() is None
        assert pipe.ended() == (3, "why")
        assert not pipe.write("x" * 1_000_000)


def test_a_process_has_time_to_end_by_itself() -> None:
    script = "import sys; sys.stdin.read(); print('tidied', file=sys.stderr); sys.exit(5)"
    pipe = Pipe([sys.executable, "-c", script])
    process = pipe._process
    pipe.close(60.0)
    assert process.returncode == 5


def test_one_that_does_not_is_killed() -> None:
    pipe = Pipe([sys.executable, "-c", "import time; print('{}', flush=True); time.sleep(600)"])
    assert pipe.read() == {}
    process = pipe._process
    pipe.close(0.01)
    assert process.returncode == -9


def test_what_cannot_be_started_is_named() -> None:
    with pytest.raises(MeasureError, match="no-such-program cannot be started: No such file"):
        Pipe(["no-such-program"])


def test_a_process_that_says_nothing_is_not_waited_for_for_ever() -> None:
    with python("import time; print('{}', flush=True); time.sleep(600)") as pipe:
        assert pipe.read(600.0) == {}
        with pytest.raises(Silence):
            pipe.read(0.01)


def test_what_is_no_object_is_noise() -> None:
    script = """
print('{garbage'); print('[1]'); print('{"a":' * 100000); print('{"a": 1' + '0' * 5000 + '}')
print('{' + 'x' * 20_000_000); print('{"last": 1}')
"""
    with python(script) as pipe:
        assert pipe.read(600.0) == {"last": 1}
        assert pipe.read(600.0) is None


def test_who_reads_finds_the_end_when_another_thread_ends_the_process() -> None:
    with python("import time; print('{}', flush=True); time.sleep(600)") as pipe:
        assert pipe.read() == {}
        threading.Timer(0.05, pipe.kill).start()
        assert pipe.read(600.0) is None
