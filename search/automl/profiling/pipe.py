"""A worker's process, spoken to in lines of JSON."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Any

from automl.errors import MeasureError


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
                text=True,
                errors="replace",
                start_new_session=True,  # Ctrl-C is ours to handle
            )
        except OSError as error:
            self._errors.close()
            raise MeasureError(f"{command[0]} cannot be started: {error.strerror}") from None

    @property
    def process_id(self) -> int:
        """Of the process."""
        return self._process.pid

    def write(self, line: str) -> bool:
        """Send a line; False where the process has ended."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return False
        return True

    def read(self) -> dict[str, Any] | None:
        """The next line; None where the process has ended."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{") and line.endswith("\n"):
                found: dict[str, Any] = json.loads(line)
                return found
        return None

    def ended(self) -> tuple[int, str]:
        """Exit status of a process that has ended, and what it wrote on stderr."""
        status = self._process.wait()
        self._errors.seek(0)
        text = self._errors.read().decode("utf-8", errors="replace")
        return status, text.strip()

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
