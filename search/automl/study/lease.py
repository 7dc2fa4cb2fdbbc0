"""One search at a time in a study of a storage that several machines share.

In a database a row says who holds the study, and a counter in it goes up while the holder lives.
Who wants the study takes a row whose counter stands still; no clock is compared with another
machine's. A study of a journal has a lock file.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from typing import Final, NamedTuple, TypeVar
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, scoped_session

from automl.errors import LockedError, Raised, attempt
from automl.files import Holder, parse_holder
from automl.study.address import journal_file, without_password
from automl.study.journal import own_journaled_study
from automl.study.waiting import OPENING_SECONDS, engine_options, wait_for

T = TypeVar("T")

_LOG = logging.getLogger(__name__)
#: How often a holder says that it lives.
BEAT_SECONDS: Final = 5.0
#: Beats that have to be missed before a holder counts as gone.
MISSED_BEATS: Final = 4

_LEASES: Final = sa.Table(
    "automl_leases",
    sa.MetaData(),
    sa.Column("study", sa.String(512), primary_key=True),
    sa.Column("token", sa.String(32), nullable=False),
    sa.Column("beat", sa.BigInteger, nullable=False),
    sa.Column("holder", sa.Text, nullable=False),
)
_ROW: Final = sa.select(_LEASES.c.token, _LEASES.c.beat, _LEASES.c.holder)


@contextlib.contextmanager
def leased(address: str, study: str, beat_seconds: float = BEAT_SECONDS) -> Iterator[None]:
    """Own a study of a storage until the block ends.

    A holder that ends gives the study back. The study of one that was killed is taken over, which
    takes `MISSED_BEATS` beats to be sure of.

    Args:
        address: Of the database, as SQLAlchemy writes it, or journal:///FILE.
        study: Name of the study, which need not exist.
        beat_seconds: How often we say that we live; the same for all that share the database.

    Raises:
        LockedError: Another process holds the study, and who.
        StudyError: The database cannot be used.
    """
    shown, path = without_password(address), journal_file(address)
    if path is not None:
        with own_journaled_study(path, study, shown):
            yield
        return
    lease = _Lease(address, study)
    lease.take(beat_seconds)
    ended = threading.Event()
    beating = threading.Thread(target=lease.keep, args=(beat_seconds, ended), daemon=True)
    beating.start()
    try:
        yield
    finally:
        ended.set()
        beating.join()
        lease.give_back()


def guard_study(
    engine: sa.Engine, sessions: scoped_session[Session], study: str, shown: str
) -> None:
    """Let sessions change a study only while its lease is what it is now.

    Who held it and slept for too long may have lost it. The lease is looked at in the transaction
    of every change, so that nothing comes between. A study without a lease is not guarded.

    Args:
        engine: Of the database.
        sessions: Those that write the study.
        study: Its name.
        shown: The database's address, without a password.

    Raises:
        LockedError: Another process holds the lease; from a session also once it was taken over.
    """
    row = _read(engine, study) if sa.inspect(engine).has_table(_LEASES.name) else None
    if row is None:
        return
    if not _is_here(parse_holder(row.holder, shown)):
        raise _refusal(study, shown, row)

    def check(session: Session, _: object) -> None:
        if session.info.get(_LEASES) is session.get_transaction():
            return  # the row is locked since the first of this transaction's many changes
        session.info[_LEASES] = session.get_transaction()
        held = _ROW.where(_LEASES.c.study == study).with_for_update()
        found = session.connection().execute(held).first()
        if found is None or found.token != row.token:
            by = "another process" if found is None else parse_holder(found.holder, shown)
            raise LockedError(
                f"the study {study!r} in {shown} was taken over by {by}, as this process did not "
                "say for too long that it lives",
                options=("out", "storage"),
            )

    event.listen(sessions, "after_flush", check)


class _Row(NamedTuple):
    token: str
    beat: int
    holder: str


class _Lease:
    """Our claim on a study."""

    def __init__(self, address: str, study: str) -> None:
        self._address = without_password(address)
        self._study = study
        self._token = uuid4().hex
        # a beat every few seconds is not worth a connection, of which servers have few
        self._engine = self._try(
            lambda: sa.create_engine(address, poolclass=sa.NullPool, **engine_options(address))
        )

    def take(self, beat_seconds: float) -> None:
        """Hold the study, at once where nobody does, else when its holder is seen to be gone."""
        self._make_table()
        seen: _Row | None = None
        patience = time.monotonic() + MISSED_BEATS * beat_seconds
        while True:
            asked = time.monotonic()
            if self._try(self._insert):
                return
            found = self._try(lambda: _read(self._engine, self._study))
            if found is not None and found.token == self._token:
                return  # it was written before its connection broke
            if seen is not None and found is not None and found != seen:
                raise _refusal(self._study, self._address, found)
            seen = found or seen
            now = time.monotonic()
            if now - asked > beat_seconds:  # while a database is away no holder can say it lives
                patience = now + MISSED_BEATS * beat_seconds
            gone = now > patience
            if found is not None and gone and self._try(partial(self._take_over, found)):
                return
            time.sleep(beat_seconds / 8)

    def keep(self, beat_seconds: float, ended: threading.Event) -> None:
        """Say that we live until the end, or until the study turns out to be another's."""
        while not ended.wait(beat_seconds):
            kept = attempt(self._beat)
            if isinstance(kept, Raised):
                _LOG.info("study storage %s: %s", self._address, kept)  # the next beat may do
            elif not kept:
                _LOG.warning("study %s in %s was taken over", self._study, self._address)
                return

    def give_back(self) -> None:
        """Leave the study to others; a database that is away sees that we beat no more."""
        attempt(lambda: self._change(sa.delete(_LEASES).where(*self._ours())))
        self._engine.dispose()

    def _make_table(self) -> None:
        def make() -> None:
            if isinstance(attempt(lambda: _LEASES.create(self._engine, checkfirst=True)), Raised):
                # another process may have made it between the check and our try
                _LEASES.create(self._engine, checkfirst=True)

        wait_for(make, self._address, OPENING_SECONDS, opening=True)

    def _insert(self) -> bool:
        row = sa.insert(_LEASES).values(
            study=self._study, token=self._token, beat=0, holder=json.dumps(asdict(Holder.here()))
        )
        try:
            return self._change(row)
        except IntegrityError:
            return False

    def _take_over(self, row: _Row) -> bool:
        """Put us in a holder's place, if it still stands where it was seen to stand."""
        return self._change(
            sa.update(_LEASES)
            .where(
                _LEASES.c.study == self._study,
                _LEASES.c.token == row.token,
                _LEASES.c.beat == row.beat,
            )
            .values(token=self._token, beat=0, holder=json.dumps(asdict(Holder.here())))
        )

    def _beat(self) -> bool:
        return self._change(sa.update(_LEASES).where(*self._ours()).values(beat=_LEASES.c.beat + 1))

    def _ours(self) -> tuple[sa.ColumnElement[bool], ...]:
        return _LEASES.c.study == self._study, _LEASES.c.token == self._token

    def _change(self, statement: sa.Insert | sa.Update | sa.Delete) -> bool:
        with self._engine.begin() as connection:
            return bool(connection.execute(statement).rowcount)

    def _try(self, call: Callable[[], T]) -> T:
        return wait_for(call, self._address)


def _read(engine: sa.Engine, study: str) -> _Row | None:
    with engine.connect() as connection:
        found = connection.execute(_ROW.where(_LEASES.c.study == study)).first()
    return None if found is None else _Row(*found)


def _refusal(study: str, shown: str, found: _Row) -> LockedError:
    holder = parse_holder(found.holder, shown)
    return LockedError(
        f"the study {study!r} in {shown} is in use by {holder}",
        holder=holder,
        options=("out", "storage"),
    )


def _is_here(holder: Holder) -> bool:
    here = Holder.here()
    return (holder.pid, holder.host) == (here.pid, here.host)
