"""One search of a sweep, wherever it runs, from its case to its row; nothing it raises ends others.

A finished search leaves a record in its folder, by which a sweep that is started again knows it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from math import isfinite
from pathlib import Path
from typing import Any, Final

from automl import pipeline
from automl.documents import decoded, parse_json
from automl.errors import AutomlError, InfeasibleError, Raised, StudyError, attempt
from automl.files import wait_until_free
from automl.options import SearchOptions, values_of
from automl.pipeline import Event, SearchRequest, Sharing, Task, load_task
from automl.sweep.provenance import Provenance, check_provenance, provenance_of
from automl.sweep.recipe import Case
from automl.sweep.results import (
    FINISHED,
    SearchRow,
    finished_row,
    row_from_json,
    row_of,
    row_to_json,
)
from automl.sweep.store import ResultStore

#: In a search's folder, written when it is finished.
RECORD: Final = "result.json"
#: Seconds between copies of a running search's folder to an address.
KEEP_SECONDS: Final = 15.0

#: How long a search's folder is waited for. The actors of a driver that was killed live on for some
#: seconds, until Ray has noticed.
HANDOVER_SECONDS: Final = 60.0

#: Told (trials finished, best score so far).
OnStep = Callable[[int, float], None]


class Searcher:
    """Does the searches of one process, one after another, on what they share.

    Args:
        shared: Folder for what is shared with other processes.
    """

    def __init__(self, shared: Path) -> None:
        self._sharing = Sharing(shared)
        self._tasks: dict[str, Task] = {}

    def run(
        self,
        case: Case,
        store: ResultStore,
        *,
        driver: Provenance | None = None,
        on_step: OnStep = lambda trials, best: None,
    ) -> SearchRow:
        """The case's row: recorded, or searched for now.

        Args:
            case: What is searched.
            store: Where its folder is.
            driver: What it was to be made of; None for what this process has.
            on_step: Told of each trial.
        """
        start, cpu = time.monotonic(), time.process_time()
        folder = f"{store.address}/{case.name}"

        stops: list[BaseException] = []

        def step(trials: int, best: float) -> None:
            try:
                on_step(trials, best)
            except SystemExit as stop:  # Tune's session, where the scheduler has decided so
                stops.append(stop)
                raise

        def search() -> SearchRow:
            if driver is not None:
                check_provenance(case, driver)
            return read_record(case, store) or self._search(case, store, step)

        found = attempt(search)
        if isinstance(found, Raised) and found.error in stops:
            raise found.error
        spent: dict[str, Any] = {
            "seconds": round(time.monotonic() - start, 3),
            "cpu_seconds": round(time.process_time() - cpu, 3),
            "folder": folder,
        }
        if isinstance(found, SearchRow):
            if found.folder:
                return found  # recorded before
            row = replace(found, **spent)
        elif isinstance(found.error, InfeasibleError):
            row = row_of(case, "INFEASIBLE", reason=str(found.error), **spent)
        else:
            ours = isinstance(found.error, AutomlError)
            reason = str(found.error) if ours else str(found)
            return row_of(case, "FAILED", reason=reason, **spent)
        return write_record(case, store, row)

    def _search(self, case: Case, store: ResultStore, on_step: OnStep) -> SearchRow:
        with store.open_folder(case.name) as folder:
            return self._search_in(folder, case, store, on_step)

    def _search_in(
        self, folder: Path, case: Case, store: ResultStore, on_step: OnStep
    ) -> SearchRow:
        wait_until_free(folder, HANDOVER_SECONDS)
        if recorded := read_record(case, store):
            return recorded  # by whoever had the folder
        keeper = _Keeper(case, store, folder)

        def listen(event: Event) -> None:
            if event.stage == "searching":
                keeper.keep(event.best)
                if event.best is not None and isfinite(event.best):
                    on_step(event.done, event.best)

        result = pipeline.search(self._request(case, folder), listen, self._sharing)
        store.keep_folder(case.name, folder)
        if result.interrupted:
            raise KeyboardInterrupt
        return finished_row(case, result)

    def _request(self, case: Case, folder: Path) -> SearchRequest:
        options = case.search
        values = values_of(options) | {"out": folder, "resume": True}
        return SearchRequest(task=self._task(case, options), **values)

    def _task(self, case: Case, options: SearchOptions) -> Task:
        key = repr((case.task, options.calibration, options.seed))
        if key not in self._tasks:
            self._tasks = {key: load_task(case.task, options.calibration, options.seed)}
        return self._tasks[key]


class _Keeper:
    """Copies a running search's folder to its address now and then, and each better policy."""

    def __init__(self, case: Case, store: ResultStore, folder: Path) -> None:
        self._name, self._place, self._folder = case.name, store, folder
        self._last = time.monotonic()
        self._best: float | None = None

    def keep(self, best: float | None) -> None:
        """Copy the folder, where that is due; else the policy, where there is a better one."""
        if self._place.folder is not None:
            return
        now, better = time.monotonic(), best != self._best
        self._best = best
        if now - self._last >= KEEP_SECONDS:
            self._place.keep_folder(self._name, self._folder)
            self._last = now
        elif better and (policy := self._folder / "policy.json").is_file():
            self._place.write(f"{self._name}/policy.json", policy.read_bytes())


def read_record(case: Case, store: ResultStore) -> SearchRow | None:
    """The row of a search that is finished; None where it is not.

    Raises:
        StudyError: The record is of another search, or cannot be read.
    """
    name = f"{case.name}/{RECORD}"
    content = store.read(name)
    if content is None:
        return None

    where = f"{store.address}/{name} is no record of a search"
    found = parse_json(decoded(content, where, StudyError), where, StudyError)
    if not isinstance(found, dict) or not isinstance(written := found.get("of"), dict):
        raise StudyError(f"{where}: it does not say of which")
    row = row_from_json(found.get("row"), where)
    if row.state not in FINISHED:
        return None
    now = _what(case)
    differing = next((key for key in now if written.get(key) != now[key]), None)
    if differing is not None:
        raise StudyError(
            f"{store.address}/{case.name} holds a search of another {differing}: "
            "another results folder starts anew",
            options=("out",),
        )
    return row


def write_record(case: Case, store: ResultStore, row: SearchRow) -> SearchRow:
    """Record that a search is finished; gives its row.

    Raises:
        StudyError: It cannot be written.
    """
    record = {"of": _what(case), "row": row_to_json(row)}
    store.write(f"{case.name}/{RECORD}", (json.dumps(record, indent=2) + "\n").encode())
    return row


def _what(case: Case) -> dict[str, object]:
    """What a record is of: options as written, and digests of files."""
    digests = asdict(provenance_of(case))["digests"]
    options = {key: json.loads(json.dumps(value)) for key, value in case.values.items()}
    return options | {f"content of {name}": digest for name, digest in digests.items()}
