"""A worker's process, spoken to in lines of JSON."""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

from automl.errors import MeasureError

_CHUNK: Final = 65536
_LONGEST: Final = 1 << 24  # bytes of a line: what is longer is no answer


class Silence(MeasureError):
    """A process that runs and says nothing."""


class Pipe:
    """A process that reads and writes lines of JSON. Other lines that it writes are skipped."""

    def __init__(self, command: Sequence[str]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the pipe
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,  # Ctrl-C is ours to handle
            )
        except OSError as error:
            self._errors.close()
            raise MeasureError(f"{command[0]} cannot be started: {error.strerror}") from None
        self._read = bytearray()

    @property
    def process_id(self) -> int:
        """Of the process."""
        return self._process.pid

    def write(self, line: str | Iterable[str]) -> bool:
        """Send a line, or one that comes in pieces; False where the process has ended."""
        assert self._process.stdin is not None
        try:
            for piece in (line,) if isinstance(line, str) else line:
                self._process.stdin.write(piece.encode())
            self._process.stdin.write(b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return False
        return True

    def read(self, seconds: float = math.inf) -> dict[str, Any] | None:
        """The next line; None where the process has ended.

        Args:
            seconds: How long it may say nothing.

        Raises:
            Silence: It says nothing for so long.
        """
        deadline = time.monotonic() + seconds
        while True:
            line, end, rest = self._read.partition(b"\n")
            if end:
                self._read = rest
                found = _object(line)
                if found is not None:
                    return found
            elif not self._receive(deadline):
                return None

    def _receive(self, deadline: float) -> bool:
        """Wait for more bytes; False where none will come."""
        assert self._process.stdout is not None
        left = deadline - time.monotonic()
        limit = [] if math.isinf(left) else [max(0.0, left)]
        if not select.select([self._process.stdout], [], [], *limit)[0]:
            raise Silence("the worker says nothing")
        chunk = os.read(self._process.stdout.fileno(), _CHUNK)
        if len(self._read) > _LONGEST:
            self._read.clear()
        self._read += chunk
        return bool(chunk)

    def ended(self) -> tuple[int, str]:
        """Exit status of a process that has ended, and what it wrote on stderr."""
        status = self._process.wait()
        self._errors.seek(0)
        text = self._errors.read().decode("utf-8", errors="replace")
        return status, text.strip()

    def kill(self) -> None:
        """End the process now; who reads from it, in whatever thread, finds the end."""
        self._process.kill()

    def close(self, seconds: float = 0.0) -> None:
        """End the process: it has `seconds` to do so by itself once its input has ended."""
        assert self._process.stdin is not None
        if seconds and self._process.poll() is None:
            try:
                self._process.stdin.close()
                self._process.wait(seconds)
            except (BrokenPipeError, subprocess.TimeoutExpired):
                self._process.kill()
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):  # what was not sent is of no use any more
                stream.close()


def _object(line: bytes | bytearray) -> dict[str, Any] | None:
    """The object of a line, None where the line is anything else."""
    if not line.startswith(b"{"):
        return None
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
