"""A worker's process, spoken to in lines of JSON."""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import subprocess
import time
from collections.abc import Iterable, Sequence
from typing import IO, Any, Final

from automl.errors import MeasureError

_CHUNK: Final = 65536
_LONGEST: Final = 1 << 24  # bytes of a line: what is longer is no answer
_COMPLAINT: Final = 1 << 16  # bytes of stderr that are kept, the last ones
#: Whether pipes can be waited for together: Windows waits for sockets alone.
_WAITS: Final = os.name != "nt"
_FAREWELL: Final = 5.0  # seconds that a process has to end once it has closed its output


class Silence(MeasureError):
    """A process that runs and says nothing, or does not listen."""


class Pipe:
    """A process that reads and writes lines of JSON. Other lines that it writes are skipped.

    What it writes is taken off its hands while it is written to and read from, so that it never
    waits for us while we wait for it.

    Raises:
        MeasureError: It cannot be started, or not be listened to, as on Windows.
    """

    def __init__(self, command: Sequence[str]) -> None:
        if not _WAITS:
            raise MeasureError(
                "nothing can be measured from Windows: measure on Linux, in WSL for one, and use"
                " the table that comes of it"
            )
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is ours to handle
            )
        except OSError as error:
            raise MeasureError(f"{command[0]} cannot be started: {error.strerror}") from None
        for stream in self._streams:
            os.set_blocking(stream.fileno(), False)
        self._read = bytearray()
        self._complaints = bytearray()
        self._open = {self._streams[1], self._streams[2]}

    @property
    def process_id(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def _streams(self) -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
        found = self._process.stdin, self._process.stdout, self._process.stderr
        first, second, third = found
        assert first is not None and second is not None and third is not None  # noqa: PT018
        return first, second, third

    def write(self, line: str | Iterable[str], seconds: float = math.inf) -> bool:
        """Send a line, or one that comes in pieces; False where the process has ended.

        Args:
            line: Without its end.
            seconds: How long it may take nothing of it.

        Raises:
            Silence: It takes nothing for so long.
        """
        for piece in (line,) if isinstance(line, str) else line:
            if not self._send(piece.encode(), seconds):
                return False
        return self._send(b"\n", seconds)

    def _send(self, data: bytes, seconds: float) -> bool:
        stdin, left = self._streams[0], memoryview(data)
        deadline = time.monotonic() + seconds
        while left:
            if not self._wait(deadline, writing=True):
                if time.monotonic() >= deadline:
                    raise Silence("the worker reads nothing")
                continue
            try:
                sent = os.write(stdin.fileno(), left)
            except BrokenPipeError:
                return False
            left, deadline = left[sent:], time.monotonic() + seconds
        return True

    def read(self, seconds: float = math.inf) -> dict[str, Any] | None:
        """The next line; None where the process has ended.

        Args:
            seconds: How long it may say nothing, or nothing that is an object.

        Raises:
            Silence: It says nothing for so long.
        """
        deadline, late = time.monotonic() + seconds, False
        while True:
            end = self._read.find(b"\n")
            if end >= 0:
                found = _object(self._read[:end])
                del self._read[: end + 1]
                if found is not None:
                    return found
            elif self._streams[1] not in self._open:
                return None
            elif late:  # it says something, and never an object
                raise Silence("the worker says nothing")
            else:
                late = time.monotonic() >= deadline
                self._wait(deadline)

    def _wait(self, deadline: float, *, writing: bool = False) -> bool:
        """Take what the process has written; wait until there is something, or it can be sent to.

        Returns:
            Whether it can be sent to.

        Raises:
            Silence: Neither is so by the deadline.
        """
        left = deadline - time.monotonic()
        limit = [] if math.isinf(left) else [max(0.0, left)]
        listening = [self._streams[0]] if writing else []
        ready, writable, _ = select.select([*self._open], listening, [], *limit)
        if left <= 0.0 and not writable and self._streams[1] not in ready:
            raise Silence("the worker says nothing")
        for stream in ready:
            self._take(stream)
        return bool(writable)

    def _take(self, stream: IO[bytes]) -> bool:
        """Keep what a stream of the process holds now; False where there is nothing more."""
        try:
            chunk = os.read(stream.fileno(), _CHUNK)
        except BlockingIOError:
            return False
        if not chunk:
            self._open.discard(stream)
        elif stream is self._streams[1]:
            if len(self._read) > _LONGEST:
                self._read.clear()
            self._read += chunk
        else:
            self._complaints += chunk
            del self._complaints[:-_COMPLAINT]
        return bool(chunk)

    def ended(self) -> tuple[int, str]:
        """Exit status of a process that has ended its output, and the end of what it complained of.

        One that does not end by itself is killed.
        """
        try:
            status = self._process.wait(_FAREWELL)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        stderr = self._streams[2]
        while stderr in self._open and self._take(stderr):
            pass
        return status, self._complaints.decode("utf-8", errors="replace").strip()

    def kill(self) -> None:
        """End the process now; who reads from it, in whatever thread, finds the end."""
        self._process.kill()

    def close(self, seconds: float = 0.0) -> None:
        """End the process: it has `seconds` to do so by itself once its input has ended."""
        if seconds and self._process.poll() is None:
            try:
                self._streams[0].close()
                self._process.wait(seconds)
            except (BrokenPipeError, subprocess.TimeoutExpired):
                self._process.kill()
        self._process.kill()
        self._process.wait()
        for stream in self._streams:
            with contextlib.suppress(BrokenPipeError):  # what was not sent is of no use any more
                stream.close()


def _object(line: bytearray) -> dict[str, Any] | None:
    """The object of a line, None where the line is anything else."""
    if not line.startswith(b"{"):
        return None
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
