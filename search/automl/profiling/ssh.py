"""Measuring on a board over SSH, through the system's own `ssh` with the user's own settings.

The worker is sent as one file into a private temporary folder, which goes with it however it
ends. A connection that drops is made again, and what was not answered by then is asked again.
"""

from __future__ import annotations

import base64
import os
import re
import shlex
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from automl.errors import MeasureError, UsageError, printable
from automl.latency import CPU_RUNTIME
from automl.profiling.bundle import worker_bundle
from automl.profiling.device import Conditions
from automl.profiling.pipe import Pipe
from automl.profiling.protocol import parse_conditions
from automl.profiling.runner import (
    Asked,
    Limits,
    Measurement,
    Probe,
    RuntimeInfo,
    answers,
    greeting,
    info_from,
)

#: Command line that is used in place of `ssh`, with its options.
COMMAND: Final = "AUTOML_SSH_COMMAND"
_OPTIONS: Final = {
    "BatchMode": "yes",
    "ConnectTimeout": "10",
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "4",
    "EscapeChar": "none",
}
_NO_PYTHON, _NO_ROOM, _LOST = 72, 71, 255
_TIRED: Final = 128 + 14  # as the board's shell tells of SIGALRM
_IDLE: Final = 900  # seconds after which a worker that nobody asks ends by itself
_PATIENCE: Final = 300.0  # seconds: time for a board to start again
_LOSSES: Final = 5  # so often in a row it may be lost without an answer
_FAREWELL: Final = 5.0  # seconds in which the other side may tidy up

#: Runs in the board's sh. The folder goes when the shell ends, also when it is ended.
_SCRIPT: Final = (
    "command -v {python} >/dev/null || exit {no_python}; "
    "d=$(mktemp -d) || exit {no_room}; "
    "trap 'rm -rf \"$d\"' EXIT; trap 'exit 1' HUP INT TERM; "
    "{python} -c 'import base64, sys; "
    'open(sys.argv[1], "wb").write(base64.b64decode(sys.argv[2]))\' "$d/worker" {worker} '
    "|| exit {no_room}; "
    'TMPDIR="$d" {python} "$d/worker" {idle}'
)


@dataclass(frozen=True, slots=True)
class Host:
    """Where to log in: `name` is [user@]host as ssh takes it."""

    name: str
    port: int | None = None

    def __str__(self) -> str:
        return self.name if self.port is None else f"{self.name}:{self.port}"

    @property
    def board(self) -> str:
        """The board as a table names it: without who logs in."""
        name = self.name.rpartition("@")[2]
        return name if self.port is None else f"{name}:{self.port}"


def parse_host(text: str) -> Host:
    """A host of "user@host", "user@host:2222" or "user@[::1]:2222".

    Raises:
        UsageError: Anything else.
    """
    found = re.fullmatch(r"((?:[\w.+-]+@)?)(?:\[([0-9A-Fa-f:.%\w]+)\]|([\w.-]+))(?::(\d+))?", text)
    if found is None or text.startswith("-"):
        raise UsageError(f"host {text!r} is not understood: write user@host or user@host:port")
    user, address, name, port = found.groups()
    return Host(user + (address or name), int(port) if port else None)


class _Lost(MeasureError):
    """The connection was lost, or the host cannot be reached now."""


class SSHRunner:
    """Times on a board over SSH. A context manager: leaving it ends the worker there.

    Args:
        host: Where to log in; a key must let us in without questions.
        threads: CPU threads.
        runtime: Name of the runtime.
        python: The board's interpreter that has it.
        patience: Seconds for which a lost connection is tried again.
        silence: Seconds that the worker may say nothing; None for what the runtime may take.

    Attributes:
        away: Whether the connection is lost and being made again.
        reconnections: How often it was.

    Raises:
        MeasureError: If the host cannot be reached, has no such Python or runtime, or no room.
    """

    def __init__(
        self,
        host: Host,
        threads: int = 1,
        runtime: str = CPU_RUNTIME,
        *,
        python: str = "python3",
        patience: float = _PATIENCE,
        silence: float | None = None,
    ) -> None:
        self._silence = silence
        self._host, self._python, self._patience = host, python, patience
        self._requests = 0
        self._closed = threading.Event()
        self.away = False
        self.reconnections = 0
        self._pipe, self.info = self._connect(runtime, threads)
        self.stolen = 0.0
        self.state: Conditions | None = self.info.conditions

    def __enter__(self) -> SSHRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __str__(self) -> str:
        return str(self._host)

    @property
    def board(self) -> str:
        """The board as a table names it."""
        return self._host.board

    def close(self) -> None:
        """End the worker and the connection."""
        self._closed.set()
        self._pipe.close(_FAREWELL)

    def stop(self) -> None:
        """End the connection at once, while another thread measures: it finds an error."""
        self._closed.set()
        self._pipe.kill()

    def run(self, probes: Sequence[Probe], limits: Limits) -> Iterator[Measurement]:
        """See `Runner.run`. Outlasts lost connections; nothing is answered twice."""
        waiting = list(range(len(probes)))
        where, losses = str(self._host), 0
        while True:
            numbers, before = tuple(waiting), len(waiting)
            self._requests += 1
            batch = tuple(probes[i] for i in numbers)
            asked = Asked(self._requests, batch, limits, self.info, where, self._silence)
            for found in answers(self._pipe, asked, list(range(len(batch)))):
                if not isinstance(found, Measurement):
                    self.stolen, self.state = found.stolen, parse_conditions(found.state, where)
                    return
                waiting.remove(numbers[found.probe])
                yield replace(found, probe=numbers[found.probe])
            losses = losses + 1 if len(waiting) == before else 0
            self._again(losses)
            if not waiting:
                return

    def _again(self, losses: int) -> None:
        """Connect again after the worker's lines ended, for as long as there is patience.

        Args:
            losses: How often they ended in a row without any answer.
        """
        if self._closed.is_set():
            raise MeasureError(f"{self._host}: the connection was closed")
        error = self._why()
        self._pipe.close()
        if not isinstance(error, _Lost):
            raise error
        if losses >= _LOSSES:
            raise MeasureError(
                f"{error}; the connection was lost {losses} times in a row before anything was"
                " answered: the rows so far are kept"
            )
        self.away = True
        before, deadline, pause = self.info, time.monotonic() + self._patience, 0.5
        while True:
            try:
                self._pipe, self.info = self._connect(before.runtime, before.threads)
                break
            except _Lost as lost:
                if time.monotonic() + pause > deadline or self._closed.is_set():
                    raise MeasureError(
                        f"{lost}; the connection was lost and did not come back within"
                        f" {self._patience:.0f} s: the rows so far are kept, run it again"
                    ) from None
                self._closed.wait(pause)
                pause = min(2 * pause, 10.0)
        self.away = False
        self.reconnections += 1
        changed = differing(before, self.info)
        if changed:
            raise MeasureError(f"{self._host} came back with another {changed}: rows do not mix")

    def _connect(self, runtime: str, threads: int) -> tuple[Pipe, RuntimeInfo]:
        self._pipe = Pipe(self._command())
        if self._closed.is_set():
            self._pipe.kill()
        try:
            hello = greeting(self._pipe, self._silence, str(self._host))
        except MeasureError:
            self._pipe.close()
            raise
        if hello is None:
            error = self._why()
            self._pipe.close()
            raise error
        try:
            info = info_from(hello, runtime, threads, f"for {self._python} on {self._host}")
        except MeasureError:
            self._pipe.close(_FAREWELL)
            raise
        return self._pipe, info

    def _command(self) -> list[str]:
        command = shlex.split(os.environ.get(COMMAND, "")) or ["ssh"]
        for name, value in _OPTIONS.items():
            command += ["-o", f"{name}={value}"]
        if self._host.port is not None:
            command += ["-p", str(self._host.port)]
        script = _SCRIPT.format(
            python=shlex.quote(self._python),
            worker=base64.b64encode(worker_bundle()).decode(),
            idle=_IDLE,
            no_python=_NO_PYTHON,
            no_room=_NO_ROOM,
        )
        return [*command, "-T", "--", self._host.name, f"exec sh -c {shlex.quote(script)}"]

    def _why(self) -> MeasureError:
        """What ended the worker's lines."""
        status, text = self._pipe.ended()
        last = printable(text.splitlines()[-1].strip()[:400]) if text else ""
        where = str(self._host)
        if status == _NO_PYTHON:
            return MeasureError(f"{where}: there is no {self._python}")
        if status == _NO_ROOM:
            return MeasureError(
                f"{where}: the worker cannot be put into a temporary folder: {last}"
            )
        if status == _TIRED:
            return _Lost(f"{where}: nobody asked the worker for {_IDLE} s")
        if status != _LOST:
            said = f": {last}" if last else ""
            return MeasureError(f"{where}: the worker ended with status {status}{said}")
        if "IDENTIFICATION HAS CHANGED" in text:
            return MeasureError(
                f"{where}: its host key is not the one that ssh knows: another board, or someone"
                f" in between; see `ssh-keygen -R` once you know which"
            )
        if "Host key verification failed" in text:
            return MeasureError(
                f"{where}: ssh does not know its host key: log in once by hand with `ssh`"
            )
        if "Permission denied" in text:
            return MeasureError(f"{where}: {last} (a key is needed that asks for no password)")
        return _Lost(f"{where}: {last or 'the connection ended'}")


def differing(first: RuntimeInfo, second: RuntimeInfo) -> str:
    """What keeps rows of two devices apart, in words; "" where they mix."""
    found = [
        f"{name} ({a} and {b})"
        for name, a, b in (
            ("runtime", first.runtime, second.runtime),
            ("runtime version", first.version, second.version),
            ("number of threads", first.threads, second.threads),
            ("architecture", first.machine, second.machine),
            ("saturation of integer sums", first.saturates, second.saturates),
            *_static(first.conditions, second.conditions),
        )
        if a != b
    ]
    return ", ".join(found)


def _static(
    first: Conditions | None, second: Conditions | None
) -> tuple[tuple[str, str, str], ...]:
    if first is None or second is None:
        return ()
    return (
        ("device", first.processor, second.processor),
        ("number of cores", str(first.cores), str(second.cores)),
        ("clock setting", first.clocks, second.clocks),
        ("power mode", first.power_mode, second.power_mode),
    )
