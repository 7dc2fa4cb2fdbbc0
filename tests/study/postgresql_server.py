"""A PostgreSQL server of one's own on a free port of 127.0.0.1, for as long as it is needed."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path


def find_binaries() -> Path | None:
    """The folder of initdb and pg_ctl, which Debian keeps off the path."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return folders[-1] if folders else None


class Server:
    """A server that can be stopped and started again."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries, self._folder = binaries, folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._do("initdb", "-A", "trust", "-U", "me", "--locale=C", "-E", "UTF8", "--no-sync")

    @property
    def address(self) -> str:
        return f"postgresql://me@127.0.0.1:{self._port}/postgres"

    def start(self, *settings: str) -> None:
        options = [f"-p {self._port} -h 127.0.0.1 -k {self._folder}", *settings]
        log = str(self._folder / "server.log")
        self._do("pg_ctl", "start", "-w", "-t", "60", "-l", log, "-o", " ".join(options))

    def stop(self) -> None:
        """End it as a crash would."""
        self._do("pg_ctl", "stop", "-w", "-m", "immediate")

    def _do(self, program: str, *words: str) -> None:
        # PostgreSQL does not run as root
        other = ("runuser", "-u", "postgres", "--") if os.geteuid() == 0 else ()
        data = str(self._folder / "data")
        subprocess.run(
            [*other, str(self._binaries / program), "-D", data, *words],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            check=True,
        )


@contextlib.contextmanager
def serving(binaries: Path, *settings: str) -> Iterator[Server]:
    """A new, empty server until the block ends."""
    with tempfile.TemporaryDirectory(prefix="postgresql") as name:
        folder = Path(name)
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        server = Server(binaries, folder)
        server.start(*settings)
        try:
            yield server
        finally:
            server.stop()
