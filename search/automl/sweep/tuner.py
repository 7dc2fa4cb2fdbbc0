"""A sweep on a Ray cluster: one trial of Tune is one search."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from automl.errors import attempt
from automl.latency import find_table, is_cpu_table
from automl.study import check_ray, connected
from automl.sweep.local import OnRow
from automl.sweep.provenance import provenance_of
from automl.sweep.recipe import Case, RaySettings
from automl.sweep.results import SearchRow, row_from_json, row_of
from automl.sweep.store import ResultStore

#: Tune's own files are in the results' folder of that name.
EXPERIMENT: Final = "tune"
#: Tune prints nothing of its own, and workers stay in the folder that they were started in.
_ENVIRONMENT: Final = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


def run_on_ray(
    cases: Sequence[Case],
    store: ResultStore,
    settings: RaySettings,
    address: str,
    *,
    resume: bool,
    on_row: OnRow,
) -> tuple[list[SearchRow], bool]:
    """The rows of the cases that were come to, and whether some are left.

    Args:
        cases: What is searched.
        store: Where the results go; a folder is one that all machines share.
        settings: How the searches are spread.
        address: As for `connected`.
        resume: Whether Tune goes on with the experiment that is in the store, if there is one.
        on_row: Told of each finished search.

    Raises:
        UsageError: Ray is not installed.
        ClusterError: The cluster cannot be reached.
    """
    check_ray("a sweep on a cluster")
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with connected(address):
        from automl.sweep.telling import hearing

        with hearing(on_row) as heard:
            results = _tuner(cases, store, settings, resume=resume).fit()
        found = {row.case: row for row in heard}
        for result in results:
            row = _row(result)
            if row is not None:
                found[row.case] = row
    rows = [found[case.name] for case in cases if case.name in found]
    return rows, len(rows) < len(cases)


def _tuner(
    cases: Sequence[Case], store: ResultStore, settings: RaySettings, *, resume: bool
) -> Any:
    from ray import tune
    from ray.tune import FailureConfig, RunConfig, TuneConfig

    from automl.sweep.schedulers import make_scheduler
    from automl.sweep.telling import Teller
    from automl.sweep.trainable import CASE, SearchTrainable

    trainable = tune.with_resources(SearchTrainable, _Resources(settings))
    where = f"{store.address}/{EXPERIMENT}"
    if resume and tune.Tuner.can_restore(where):
        return tune.Tuner.restore(where, trainable, restart_errored=True)
    return tune.Tuner(
        trainable,
        param_space={CASE: tune.grid_search([_configured(case, store) for case in cases])},
        tune_config=TuneConfig(
            scheduler=make_scheduler(settings),
            max_concurrent_trials=settings.concurrency,
            reuse_actors=settings.reuse_actors,
        ),
        run_config=RunConfig(
            name=EXPERIMENT,
            storage_path=store.address,
            failure_config=FailureConfig(max_failures=settings.retries),
            callbacks=[Teller()],
            verbose=0,
        ),
    )


def _configured(case: Case, store: ResultStore) -> dict[str, Any]:
    """A case as it travels: plain values, and what its files are where the driver is."""
    return {
        "name": case.name,
        "values": dict(case.values),
        "store": store.address,
        "driver": asdict(provenance_of(case)),
        "paths": [str(Path.cwd())],
        "here": _here(case),
    }


def _here(case: Case) -> bool:
    """Whether the case's target is the driver's own machine, on which alone it can be measured."""
    target, threads = case.search.target, case.search.threads
    found = attempt(lambda: is_cpu_table(find_table(target, threads=threads), threads))
    return found is True


class _Resources:
    """What a trial needs: as the recipe says, and the driver's machine where that is measured."""

    def __init__(self, settings: RaySettings) -> None:
        from ray.util import get_node_ip_address

        self._needed = {"CPU": settings.cpus, "GPU": settings.gpus}
        self._driver = f"node:{get_node_ip_address()}"

    def __call__(self, config: dict[str, Any]) -> Any:
        from ray.tune import PlacementGroupFactory

        from automl.sweep.trainable import CASE

        own = {self._driver: 0.001} if config[CASE]["here"] else {}
        return PlacementGroupFactory([{**self._needed, **own}])


def _row(result: Any) -> SearchRow | None:
    """The row that a trial reported, or why it has none; None where it did not come to its end."""
    metrics = result.metrics or {}
    if "row" in metrics:
        return row_from_json(metrics["row"])
    if result.error is None:
        return None
    configured = result.config["case"]
    case = Case(configured["name"], configured["values"])
    lines = str(result.error).strip().splitlines() or [type(result.error).__name__]
    return row_of(case, "FAILED", reason=lines[-1].strip())
