"""Addresses of storages: which are files of Optuna's journal, and how they may be shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from automl.errors import StudyError

_JOURNAL: Final = "journal:"


def without_password(address: str) -> str:
    """An address without its password, whatever that holds, in the user's part or in the query."""
    shown = re.sub(r"(://[^:@]*):.*@", r"\1:***@", address)
    return re.sub(r"(?i)([?&][^=&]*(?:passw|pwd|secret|token)[^=&]*=)[^&]*", r"\1***", shown)


def journal_file(address: str) -> Path | None:
    """The file of a journal's address; None for a database's.

    Slashes are counted as SQLAlchemy counts them for SQLite: journal:///studies.log is in the
    working folder, journal:////disk/studies.log has an absolute path.

    Raises:
        StudyError: A journal's address without a file.
    """
    if not address.startswith(_JOURNAL):
        return None
    slashes, path = address[len(_JOURNAL) : len(_JOURNAL) + 3], address[len(_JOURNAL) + 3 :]
    if slashes != "///" or not path:
        raise StudyError(
            f"study storage {address}: a journal is written as journal:///FILE, with an absolute "
            "path as journal:////FOLDER/FILE",
            options=("storage",),
        )
    return Path(path)
