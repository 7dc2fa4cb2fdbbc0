"""Storages that are locked or away for a while are waited for."""

from __future__ import annotations

import errno
import logging
import re
import sqlite3
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError, OperationalError

from automl.errors import (
    AutomlError,
    Raised,
    StorageError,
    StudyError,
    attempt,
    install_command,
)

T = TypeVar("T")

_LOG = logging.getLogger(__name__)
#: How long a storage that has answered before is waited for.
AWAY_SECONDS: Final = 300.0
#: How long one without room is: somebody may make some.
FULL_SECONDS: Final = 10.0
#: How long one that has not yet is: its address may be wrong.
OPENING_SECONDS: Final = 30.0
#: How long SQLite itself waits for another's lock, each time that it is asked.
SQLITE_SECONDS: Final = 1.0
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0

_LOCKED: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_GONE: Final = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL)
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_FULL_STATE: Final = "53100"  # what PostgreSQL calls it
_DISK: Final = (
    *_FULL,
    errno.ENOENT,  # unmounted
    errno.EIO,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.ENOTCONN,
)
#: What servers that are about to answer say to a first connection; drivers give no code for it.
_COMING: Final = re.compile(
    "refused|starting up|shutting down|recovery mode|accepting connections|too many|"
    "timed? ?out|timeout|reset by peer|closed the connection"
)
_DRIVERS: Final = ("psycopg", "psycopg2")


def engine_options(address: str) -> dict[str, Any]:
    """SQLAlchemy's options by which a server that is gone is noticed in seconds, not in minutes.

    What the address itself asks for stays.

    Raises:
        sqlalchemy.exc.ArgumentError: The address cannot be understood.
    """
    url = sa.make_url(address)
    options: dict[str, float] = {}
    if url.get_backend_name() == "sqlite":
        options = {"timeout": SQLITE_SECONDS}
    elif url.get_driver_name() in _DRIVERS:
        options = {
            "connect_timeout": 10,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,  # milliseconds
        }
    asked = {key: value for key, value in options.items() if key not in url.query}
    return {"connect_args": asked}


def wait_for(
    call: Callable[[], T], shown: str, limit_seconds: float = AWAY_SECONDS, *, opening: bool = False
) -> T:
    """What a storage answers, asked again and again while it is locked or away.

    Args:
        call: Asks the storage, and may be repeated.
        shown: Its address, without a password.
        limit_seconds: How long it is waited for, from its first refusal; less where it has no room.
        opening: Whether it never answered yet. Then an address that looks wrong is not waited for.

    Raises:
        AutomlError: What `call` raises of ours.
        StorageError: The storage refuses for too long.
        StudyError: It refuses for another reason, or was never reached.
    """
    pause, refused = FIRST_PAUSE, 0.0
    while isinstance(answer := attempt(call), Raised):
        if isinstance(answer.error, AutomlError):
            raise answer.error
        found = _cause(answer)
        if not _passes(found.error, opening):
            raise StudyError(f"study storage {shown}: {_advised(found)}") from answer.error
        now, full = time.monotonic(), _is_full(found.error)
        limit_seconds = min(limit_seconds, FULL_SECONDS) if full else limit_seconds
        if not refused:
            refused = now
            said = _first_line(found.error)
            _LOG.warning(
                "study storage %s: %s; waiting for it, %g s at most", shown, said, limit_seconds
            )
        if now - refused >= limit_seconds:
            said = "has no room" if full else f"was waited for, {limit_seconds:g} s"
            kind, mends = (StudyError, "storage") if opening else (StorageError, "resume")
            raise kind(f"study storage {shown} {said}: {found}", options=(mends,)) from answer.error
        time.sleep(min(pause, limit_seconds))
        pause = min(2 * pause, LONGEST_PAUSE)
    if refused:
        _LOG.warning(
            "study storage %s answers again, after %.0f s", shown, time.monotonic() - refused
        )
    return answer


def _cause(raised: Raised) -> Raised:
    """What a database said, out of Optuna's "invalid data"."""
    cause = raised.error.__cause__
    if isinstance(raised.error, StorageInternalError) and isinstance(cause, Exception):
        return Raised(cause)
    return raised


def _passes(error: BaseException, opening: bool) -> bool:
    """Whether a storage may answer later what it refuses now."""
    if isinstance(error, OSError):
        return not opening and error.errno in _DISK
    if not isinstance(error, DBAPIError):
        return False
    if isinstance(error.orig, sqlite3.Error):
        code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF  # the rest says more of the same
        return code in _LOCKED or (code in _GONE and not opening)
    if opening:
        return isinstance(error, OperationalError) and bool(_COMING.search(str(error.orig)))
    return error.connection_invalidated or isinstance(error, OperationalError)


def _is_full(error: BaseException) -> bool:
    """Whether a storage lacks room, which waiting seldom brings."""
    if isinstance(error, OSError):
        return error.errno in _FULL
    told = error.orig if isinstance(error, DBAPIError) else None
    code = getattr(told, "sqlite_errorcode", 0) & 0xFF
    return code == sqlite3.SQLITE_FULL or getattr(told, "sqlstate", None) == _FULL_STATE


def _first_line(error: BaseException) -> str:
    told = error.orig if isinstance(error, DBAPIError) else error
    lines = str(told).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _advised(raised: Raised) -> str:
    error = raised.error
    if isinstance(error, ModuleNotFoundError) and error.name in _DRIVERS:
        return f"{error.name} is not installed: {install_command('postgresql')}"
    return str(raised)
