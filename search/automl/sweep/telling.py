"""How the driver hears of searches that end on a cluster.

Tune pickles callbacks with the experiment, so this one holds nothing: who listens is a matter of
the process.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Final

from ray.tune import Callback

from automl.policy import PolicyFile
from automl.sweep.local import OnRow
from automl.sweep.recipe import Case
from automl.sweep.results import SearchRow, row_from_json, row_of
from automl.sweep.running import write_record
from automl.sweep.store import ResultStore
from automl.sweep.trainable import CASE, METRIC

_listeners: Final[list[OnRow]] = []


@contextlib.contextmanager
def hearing(on_row: OnRow) -> Iterator[list[SearchRow]]:
    """Tell of each search that ends within the block, and collect their rows."""
    rows: list[SearchRow] = []

    def hear(row: SearchRow) -> None:
        rows.append(row)
        on_row(row)

    _listeners.append(hear)
    try:
        yield rows
    finally:
        _listeners.remove(hear)


class Teller(Callback):  # type: ignore[misc]  # Ray is not followed
    """Tells of trials that end; one that the scheduler ended is recorded as such."""

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tell the listeners of this process."""
        result = trial.last_result or {}
        row = row_from_json(result["row"]) if "row" in result else _stopped(trial, result)
        for listener in _listeners:
            listener(row)


def _stopped(trial: Any, result: dict[str, Any]) -> SearchRow:
    configured = trial.config[CASE]
    case, store = Case(configured["name"], configured["values"]), ResultStore(configured["store"])
    content = store.read(f"{case.name}/policy.json")
    best = None if content is None else PolicyFile.model_validate_json(content).predicted
    row = row_of(
        case,
        "STOPPED",
        predicted_seconds=best and best.latency_seconds,
        predicted_cycles=best and best.latency_cycles,
        at_least=best is not None and best.at_least,
        macs=best and best.macs,
        bytes=best and best.bytes,
        score=result.get(METRIC),
        trials=result.get("trials", 0),
        seconds=result.get("time_total_s", 0.0),
        folder=f"{store.address}/{case.name}",
        reason="ended early by the scheduler",
    )
    return write_record(case, store, row)
