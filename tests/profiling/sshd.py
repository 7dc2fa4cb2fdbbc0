"""A real sshd on loopback, with throw-away keys, as the user who runs the tests."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

SSHD = "/usr/sbin/sshd"


@dataclass
class Sshd:
    """One that runs; `host` is what `--ssh` takes, `command` goes into AUTOML_SSH_COMMAND."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def host(self) -> str:
        return f"{getpass.getuser()}@127.0.0.1:{self.port}"

    @property
    def temporary(self) -> Path:
        """TMPDIR of those who log in."""
        return self.folder / "tmp"

    @property
    def command(self) -> str:
        return self.command_with(self.folder / "known_hosts")

    def command_with(self, known_hosts: Path) -> str:
        return (
            f"ssh -F none -i {self.folder / 'key'} -o IdentitiesOnly=yes -o LogLevel=ERROR"
            f" -o UserKnownHostsFile={known_hosts} -o GlobalKnownHostsFile=none"
        )

    def sessions(self) -> list[int]:
        """Processes that serve connections."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                pid, rest = stat.parent.name, stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it ended while we looked
            if int(rest[1]) == self.process.pid:
                found.append(int(pid))
        return found

    def drop_connections(self) -> None:
        for session in self.sessions():
            with contextlib.suppress(ProcessLookupError):  # it ended while we looked
                os.kill(session, signal.SIGKILL)

    def stop(self) -> None:
        self.drop_connections()
        self.process.kill()
        self.process.wait()


def missing() -> str:
    """Why there can be no sshd here, or ""."""
    if not Path(SSHD).exists():
        return "openssh-server is not installed"
    return "" if shutil.which("ssh") else "openssh-client is not installed"


def start(folder: Path, *, key_of: Sshd | None = None, environment: str = "") -> Sshd:
    """An sshd that lets its own key in.

    Args:
        folder: Where its files are made.
        key_of: Another one that has the same keys, so that one command logs in to both.
        environment: Further variables of those who log in, as sshd_config sets them.
    """
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where a root's sshd separates its privileges
    for name in ("key", "host_key"):
        if key_of is not None:
            shutil.copy(key_of.folder / name, folder / name)
            shutil.copy(key_of.folder / f"{name}.pub", folder / f"{name}.pub")
            continue
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True
        )
    shutil.copy(folder / "key.pub", folder / "authorized_keys")
    (folder / "tmp").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kind, key, *_ = (folder / "host_key.pub").read_text().split()
    known = f"[127.0.0.1]:{port} {kind} {key}\n"
    for owner in {folder, key_of.folder if key_of is not None else folder}:
        with (owner / "known_hosts").open("a") as file:
            file.write(known)
    (folder / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder / 'host_key'}\n"
        f"AuthorizedKeysFile {folder / 'authorized_keys'}\nPidFile none\nUsePAM no\n"
        f"StrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\n"
        f"SetEnv TMPDIR={folder / 'tmp'} OMP_NUM_THREADS=1 {environment}\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "config")], stderr=log)
    for _ in range(6_000):  # five minutes guard against a hang: it answers or ends long before
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return Sshd(folder, port, process)
        time.sleep(0.05)
    process.kill()
    raise RuntimeError((folder / "log").read_text())
