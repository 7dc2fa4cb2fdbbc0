"""One command of the program in a process of its own, which is killed at a moment.

The process is forked from one that has imported everything, so that a kill costs a second.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

#: In a run's folder: the home and the temporary files of its command, what it printed, and how far
#: it said that it was.
HOME, TEMPORARY, PRINTED, TOLD = "home", "temporary", "printed.txt", "told.txt"
#: In the environment of a command and of all that it starts.
_MARK: Final = "AUTOML_KILLED"
#: Seconds after which a command hangs, and in which what it started has to end after it.
PATIENCE, FAREWELL = 120.0, 20.0


@dataclass(frozen=True, slots=True)
class Moment:
    """When a command is killed, and how.

    Attributes:
        signal: What it is sent.
        reports: When it has told so often what it does; 0 for at once.
        changes: At so many changes of files; 0 for none.
        seconds: So long after them, or after its start.
    """

    signal: signal.Signals
    reports: int
    changes: int
    seconds: float


def draw(random: Random, whole: float, reports: int) -> Moment:
    """Any moment of a command, one just after a change of a file, or one after a report.

    Args:
        random: Draws.
        whole: Seconds that the command takes.
        reports: How often it tells what it does.
    """
    kill = random.choices((signal.SIGKILL, signal.SIGTERM, signal.SIGINT), (16, 3, 1))[0]
    soon = random.expovariate(1 / 0.002)
    match random.choices(range(3), (3, 3, 4 if reports else 0))[0]:
        case 0:
            return Moment(kill, 0, 0, random.uniform(0.0, whole))
        case 1:
            return Moment(kill, 0, random.randint(1, 40), soon)
        case _:
            return Moment(kill, random.randint(1, reports), 0, 5 * soon)


@dataclass(frozen=True, slots=True)
class End:
    """How a command ended.

    Attributes:
        status: What it ended with; minus the signal's number where that ended it.
        seconds: That it took.
        killed: Whether the signal was sent before it had ended.
        hung: Whether it was still there after `PATIENCE`.
        orphans: Processes that it left behind, by what they ran.
    """

    status: int
    seconds: float
    killed: bool
    hung: bool
    orphans: tuple[str, ...]


def run_killed(words: Sequence[str], folder: Path, moment: Moment | None) -> End:
    """Run `automl` with words in a folder, until it ends or is killed.

    Args:
        words: Of the command line.
        folder: Its working folder.
        moment: When it is killed; None to let it end.
    """
    start, mark = time.monotonic(), f"{os.getpid()}.{time.monotonic_ns()}"
    (folder / TEMPORARY).mkdir(exist_ok=True)
    (folder / TOLD).unlink(missing_ok=True)
    process = os.fork()
    if not process:
        _command(words, folder, mark)
    status = None if moment is None else _wait_for(process, moment, folder, start)
    killed = moment is not None and status is None
    if killed:
        os.kill(process, moment.signal)
    status = _ended(process, start + PATIENCE) if status is None else status
    hung = status is None
    if hung:
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
    return End(
        os.waitstatus_to_exitcode(status),
        time.monotonic() - start,
        killed,
        hung,
        tuple(_orphans(mark)),
    )


def _command(words: Sequence[str], folder: Path, mark: str) -> None:
    """The child: the command from its first line to its status."""
    status = 99
    try:
        os.chdir(folder)
        os.environ |= {
            "AUTOML_HOME": str(folder / HOME),
            "TMPDIR": str(folder / TEMPORARY),
            _MARK: mark,
        }
        tempfile.tempdir = None
        printed = os.open(PRINTED, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _tell_to(os.open(TOLD, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
        sys.argv = ["automl", *words]
        from automl.cli.main import run

        run()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt:  # before the command listens, or after it
        status = 130
    except BaseException:
        traceback.print_exc()
    with contextlib.suppress(BaseException):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def _tell_to(file: int) -> None:
    """Have each event that the command shows written to a file first."""
    from automl.cli.progress import Bar
    from automl.pipeline import Event

    show = Bar.__call__

    def tell(bar: Bar, event: Event) -> None:
        os.write(file, f"{event.done} {event.stage}\n".encode())
        show(bar, event)

    Bar.__call__ = tell  # type: ignore[method-assign]


def told(folder: Path, stage: str) -> int:
    """How far the last command said that it was in a stage."""
    parts = [line.split(" ", 1) for line in _reports(folder)]
    return max((int(done) for done, name in parts if name == stage), default=0)


def reports(folder: Path) -> int:
    """How often the last command told what it does."""
    return len(_reports(folder))


def _reports(folder: Path) -> list[str]:
    return (folder / TOLD).read_text().splitlines() if (folder / TOLD).exists() else []


def _wait_for(process: int, moment: Moment, folder: Path, start: float) -> int | None:
    """Wait for the moment; gives the status of a process that ended before."""
    seen, changes = _state(folder), 0
    while time.monotonic() < start + PATIENCE:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return status
        if reports(folder) >= moment.reports:
            if changes >= moment.changes:
                break
            now = _state(folder)
            changes, seen = changes + (now != seen), now
        time.sleep(0.0005)
    begun = start if not moment.reports + moment.changes else time.monotonic()
    while time.monotonic() < begun + moment.seconds:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.0005)
    return None


def _state(folder: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of the files below a folder, but of what we read ourselves."""
    found: list[tuple[str, int, int]] = []
    for place, _, names in os.walk(folder):
        for name in names:
            if name in (PRINTED, TOLD):
                continue
            with contextlib.suppress(OSError):
                status = os.stat(f"{place}/{name}")
                found.append((name, status.st_size, status.st_mtime_ns))
    return found


def _ended(process: int, deadline: float) -> int | None:
    while time.monotonic() < deadline:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.002)
    return None


def _orphans(mark: str) -> Iterator[str]:
    """What a command started and left; it is given time, then ended."""
    deadline = time.monotonic() + FAREWELL
    while left := _marked(mark):
        if time.monotonic() > deadline:
            for process, command in left.items():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
                yield command
            return
        time.sleep(0.02)


def _marked(mark: str) -> dict[int, str]:
    found = {}
    for place in Path("/proc").iterdir():
        if not place.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            if f"{_MARK}={mark}".encode() in (place / "environ").read_bytes().split(b"\0"):
                command = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found[int(place.name)] = command.strip()
    return found
