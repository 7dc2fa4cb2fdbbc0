"""Studies in a file of Optuna's journal, for disks that many machines share.

Every finished trial is one line. A line that a crash cut off is dropped before the next is written.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from automl.errors import LockedError, StudyError
from automl.files import locked

#: File systems take names of 255 bytes; the lock adds some of its own.
_LONGEST_NAME = 200


def open_journal(path: Path) -> JournalStorage:
    """Open or begin a journal.

    Raises:
        OSError: The file cannot be read or written.
        ValueError: It is no journal.
    """
    return JournalStorage(JournalFileBackend(str(path), _WholeLines(path)))


@contextlib.contextmanager
def own_journaled_study(path: Path, study: str, shown: str) -> Iterator[None]:
    """Own a study of a journal until the block ends; the others in the file stay free.

    Args:
        path: Of the journal.
        study: Name of the study.
        shown: The journal's address.

    Raises:
        LockedError: Another process holds the study, and who.
        StudyError: The lock cannot be made beside the journal.
    """
    name = f"{path.name}.{quote(study, safe='')}"
    if len(name) > _LONGEST_NAME:
        name = f"{path.name}.{sha256(study.encode()).hexdigest()[:16]}"
    with contextlib.ExitStack() as stack:
        try:
            if not path.parent.is_dir():  # a wrong path; filelock would make it
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            stack.enter_context(locked(path.with_name(name)))
        except LockedError as error:
            by = error.holder or "another process"
            raise LockedError(
                f"the study {study!r} in {shown} is in use by {by}",
                holder=error.holder,
                options=("out", "storage"),
            ) from None
        except OSError as error:
            raise StudyError(
                f"study storage {shown}: {path.absolute()} cannot be written: {error.strerror}",
                options=("storage",),
            ) from error
        yield


class _WholeLines(JournalFileOpenLock):
    """Optuna's lock of a journal, under which what a killed writer left half written is dropped.

    A file that is made exclusively is a lock on all network disks. One of a killed process is taken
    over by Optuna after 30 s.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path

    def acquire(self) -> bool:
        with contextlib.ExitStack() as stack:
            held = super().acquire()
            stack.callback(self.release)
            _drop_torn_line(self._path)
            stack.pop_all()
        return held


def _drop_torn_line(path: Path) -> None:
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        if not end:
            return
        file.seek(end - 1)
        if file.read(1) == b"\n":
            return
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
