"""Files that are written whole or not at all, and paths that one process owns at a time."""

from __future__ import annotations

import contextlib
import errno
import glob
import importlib
import itertools
import json
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import MISSING, asdict, dataclass, fields
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from automl.documents import parse_json, read_text, shown
from automl.errors import LockedError


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


#: Locks of folders; Windows has none.
_FCNTL: Final[Any] = _module("fcntl")
#: Files in a folder that its users lock where folders cannot be locked, and one beside the folder
#: that is locked while users come and folders go.
_USED: Final = ".used"
_GATE: Final = ".automl.gate"
_numbers: Final = itertools.count()


#: Files in a folder that somebody owns: the lock, and who holds it.
LOCK_FILES: Final = (".lock", ".holder")
_RECORD_BYTES: Final = 4096  # of who holds it
_PART: Final = ".automl"  # ends the name of a file that is being written
#: Whether signal 0 asks whether a process is there: on Windows it is Ctrl-C.
_ASKS: Final = os.name != "nt"
_DAY: Final = 86_400.0  # seconds
#: Files that this process is writing.
_writing: Final[set[Path]] = set()


def write_whole(path: Path, content: str | bytes) -> None:
    """Put `content` in place of a file's own in one step, making its folder where it is missing.

    Raises:
        OSError: As `replacing`.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    with replacing(path) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to in the block; at its end the file there takes the place of `path`.

    A reader, or a crash, finds the old content or the new, never a part. The folder is made where
    it is missing. What processes of this machine that were killed have left in it is removed.

    Raises:
        OSError: The file cannot be written; the old content is kept.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".*.{glob.escape(_host())}.*{_PART}"):
        if left not in _writing and _is_left(left):
            left.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.name}.{_host()}.{os.getpid()}{_PART}")
    _writing.add(temporary)
    try:
        with naming(path):
            yield temporary
            with temporary.open("r+b") as file:  # Windows writes out what can be written alone
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
        _writing.discard(temporary)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have what the system refuses in the block name a file: of a full disk it names none."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename, error.filename2 = str(path), None
        raise


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for temporary files until the block ends.

    Those of processes of this machine and user that were killed are removed.

    Raises:
        OSError: There is no room for one.
    """
    place, start = Path(tempfile.gettempdir()), f"automl-{_user()}-{_host()}."
    for left in place.glob(f"{glob.escape(start)}*"):
        _remove_unused(left)
    with _used(Path(tempfile.mkdtemp(prefix=start, dir=place))) as folder:
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def common_folder(name: str) -> Iterator[Path]:
    """A folder for temporary files that processes of this machine and user have in common.

    It goes with the last of them. Where that was killed it stays, for those that go on under the
    same name; others that nobody uses are removed.

    Args:
        name: By which they find it: letters and digits.

    Raises:
        OSError: It cannot be made, or what has its name is another user's.
    """
    place, start = Path(tempfile.gettempdir()), f"automl-{_user()}-{_host()}-"
    path = place / f"{start}{name}"
    for left in place.glob(f"{glob.escape(start)}*"):
        if left != path:
            _remove_unused(left)
    with _used(path) as folder:
        yield folder


@contextlib.contextmanager
def _used(path: Path) -> Iterator[Path]:
    """A folder that the block uses, made where it is missing; it goes with the last that does.

    Who uses it holds a lock of the kernel's, which goes with its process.
    """
    leave = _use_folder(path)
    try:
        yield path
    finally:
        leave()
        _remove_unused(path)


def _user() -> str:
    """This user in a file's name; on Windows each has temporary files of its own anyway."""
    return str(os.getuid()) if hasattr(os, "getuid") else "0"


def _use_folder(path: Path) -> Callable[[], None]:
    """Use a folder from now on, made where it is missing; gives what ends that.

    Raises:
        OSError: It cannot be made, or what has its name is another user's.
    """
    return _use_by_files(path) if _FCNTL is None else _use_by_lock(path)


def _remove_unused(path: Path) -> None:
    """Remove a folder that nobody uses; what is used, or another user's, stays."""
    with contextlib.suppress(OSError):
        (_remove_by_files if _FCNTL is None else _remove_by_lock)(path)


def _use_by_lock(path: Path) -> Callable[[], None]:
    while True:
        path.mkdir(mode=0o700, exist_ok=True)
        held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        with contextlib.suppress(OSError):  # a disk without locks: nobody else removes it there
            _FCNTL.flock(held, _FCNTL.LOCK_SH)
        status = os.fstat(held)
        if status.st_uid != os.getuid():
            os.close(held)
            raise PermissionError(errno.EACCES, "it belongs to another user", str(path))
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(status, os.stat(path)):
                return partial(os.close, held)
        os.close(held)  # somebody has removed it before it was locked


def _remove_by_lock(path: Path) -> None:
    held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        _FCNTL.flock(held, _FCNTL.LOCK_EX | _FCNTL.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(held)


def _use_by_files(path: Path) -> Callable[[], None]:
    with FileLock(path.with_name(_GATE)):
        path.mkdir(mode=0o700, exist_ok=True)
        used = FileLock(path / f".{os.getpid()}.{next(_numbers)}{_USED}")
        used.acquire(timeout=0)
    return used.release


def _remove_by_files(path: Path) -> None:
    with FileLock(path.with_name(_GATE)):
        for used in path.glob(f".*{_USED}"):
            with FileLock(used, timeout=0):
                pass
        shutil.rmtree(path, ignore_errors=True)


def _host() -> str:
    """This machine in a file's name: processes of others have numbers of their own."""
    return re.sub(r"[^A-Za-z0-9]+", "-", socket.gethostname())[:20]


def _is_left(path: Path) -> bool:
    """Whether what the process with the number in its name was writing is nobody's any more.

    What has our own number and is not ours was another's before: in a container all have the same.
    Windows cannot be asked for a process without a signal to it: there what is a day old is left.
    """
    number = path.name.removesuffix(_PART).rpartition(".")[2]
    if re.fullmatch(r"[0-9]{1,9}", number) is None:
        return False
    if int(number) == os.getpid():
        return True
    if not _ASKS:
        with contextlib.suppress(FileNotFoundError):
            return time.time() - path.stat().st_mtime > _DAY
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that owns a lock.

    Attributes:
        pid: Its number on its host.
        host: Name of the machine.
        since: When it took the lock, in local time with its offset, ISO 8601.
        command: What was typed, shortened.
    """

    pid: int
    host: str
    since: str
    command: str = ""

    @classmethod
    def here(cls) -> Holder:
        """This process, from now on."""
        since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        return cls(os.getpid(), socket.gethostname(), since, " ".join(sys.argv)[:200])

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"


@contextlib.contextmanager
def locked(path: Path, wait_seconds: float = 0.0) -> Iterator[None]:
    """Own a path until the block ends, among all processes that lock it by this function.

    The lock is the kernel's (`flock`, through filelock) on a file beside the path, or in it where
    it is a folder, so it goes with its process, however that ends. Who holds it is written in a
    second file. On a disk without `flock` the lock is the file itself, which the crash of another
    machine leaves behind.

    Args:
        path: What is owned; it need not exist, its folder must.
        wait_seconds: How long to wait for a holder; 0 for not at all.

    Raises:
        LockedError: Another process, or another block of this one, holds it, and who.
        OSError: The lock cannot be made beside the path.
    """
    within = path.is_dir()
    lock, record = (
        path / name if within else path.with_name(f".{path.name}{name}") for name in LOCK_FILES
    )
    holding = FileLock(lock)
    try:
        holding.acquire(timeout=wait_seconds, poll_interval=0.01)
    except Timeout:
        holder = read_holder(record)
        raise LockedError(_refusal(path, lock, holder), holder=holder) from None
    try:
        with naming(record):
            record.write_text(json.dumps(asdict(Holder.here())), encoding="utf-8")
        yield
    finally:
        record.unlink(missing_ok=True)
        holding.release()


def is_locked(path: Path) -> bool:
    """Whether somebody owns a path now; a folder that is not there, nobody does."""
    try:
        with locked(path):
            return False
    except FileNotFoundError:
        return False
    except LockedError:
        return True


def wait_until_free(path: Path, seconds: float) -> None:
    """Until nobody owns a path, or the seconds are over; the lock itself is not kept."""
    if not path.exists():
        return
    with contextlib.suppress(LockedError), locked(path, seconds):
        pass


def read_holder(record: Path) -> Holder | None:
    """What a holder wrote of itself; None where it has not yet, or not any more."""
    try:
        return parse_holder(read_text(record, LockedError, most=_RECORD_BYTES), str(record))
    except LockedError:
        return None


def parse_holder(text: str, where: str) -> Holder:
    """A holder as it was written.

    Raises:
        LockedError: It is none.
    """
    found = parse_json(text, where, LockedError)
    names = {each.name: each.type for each in fields(Holder)}
    needed = {each.name for each in fields(Holder) if each.default is MISSING}
    held = isinstance(found, dict) and needed <= found.keys() <= names.keys()
    if not held or any(type(value).__name__ != names[name] for name, value in found.items()):
        raise LockedError(f"{where}: {shown(found)} does not say who holds it")
    return Holder(**found)


def _refusal(path: Path, lock: Path, holder: Holder | None) -> str:
    if holder is None:
        return f"{path} is in use by another process"
    elsewhere = holder.host != socket.gethostname()
    hint = f"; if that process is gone, delete {lock}" if elsewhere else ""
    return f"{path} is in use by {holder}{hint}"
