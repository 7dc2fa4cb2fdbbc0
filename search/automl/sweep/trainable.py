"""One search as a trial of Ray Tune, for our own sweeps and for other people's Tune scripts.

    from ray import tune
    from automl.sweep import SearchTrainable, search_space

    space = search_space(target=["phone", "board"], budget=["30%", "50%"], seed=[0, 1])
    tune.Tuner(SearchTrainable, param_space=space).fit()

Each finished policy reports `best_score` and `trials`; the last report is the search's row.
"""

from __future__ import annotations

import atexit
import math
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from ray import tune
from ray.tune.trainable import wrap_function

from automl.errors import UsageError, nearest
from automl.sweep.provenance import Provenance
from automl.sweep.recipe import KNOWN, Case, make_recipe
from automl.sweep.results import SearchRow, row_to_json
from automl.sweep.running import Searcher
from automl.sweep.store import ResultStore

#: What is reported of the best policy so far, on validation data; larger is better.
METRIC: Final = "best_score"
#: Key of the configuration that holds what our own sweeps add.
SWEEP: Final = "automl"
#: Name of our own sweeps' case in the configuration.
CASE: Final = "case"

_searchers: Final[dict[str, Searcher]] = {}
#: What the process's searcher shares with others; an actor that is ended leaves it to the next.
_shared: Final = ExitStack()
atexit.register(_shared.close)


def search_space(**options: Any) -> dict[str, Any]:
    """A `param_space` for `SearchTrainable`: options by name, lists of values as grids.

    Values that Tune draws (`tune.choice` and the like) stay what they are. Relative paths start at
    the working folder.

    Raises:
        UsageError: An option that there is not; names the nearest.
    """
    for name in options:
        if name not in KNOWN:
            raise UsageError(f"no option {name!r}{nearest(name, KNOWN)}")
    space = {
        name: tune.grid_search(value) if isinstance(value, list) else value
        for name, value in options.items()
    }
    return space | {SWEEP: {"paths": [str(Path.cwd())]}}


def search_trial(config: dict[str, Any]) -> None:
    """Do the search of a configuration in this process, and report to Tune.

    Args:
        config: Options of a search by name, or under "case" a case of our own sweeps.
    """
    added = config.get(CASE) or config.get(SWEEP, {})
    for path in added.get("paths", ()):
        if path not in sys.path:
            sys.path.append(path)  # as the command has its working folder on the path
    case = _case(config, added)
    store, root = (ResultStore(added["store"]),) * 2 if "store" in added else _stores()
    driver = Provenance(**added["driver"]) if "driver" in added else None
    best = math.nan  # which Tune leaves out where it compares

    def step(trials: int, score: float) -> None:
        nonlocal best
        best = score
        tune.report({METRIC: score, "trials": trials})

    row = _searcher(root).run(case, store, driver=driver, on_step=step)
    tune.report({METRIC: best, "trials": row.trials, **_reported(row)})


#: The trainable class: `tune.Tuner(SearchTrainable, param_space=search_space(...))`.
SearchTrainable = wrap_function(search_trial, name="SearchTrainable")


def _case(config: dict[str, Any], added: dict[str, Any]) -> Case:
    if CASE in config:
        return Case(added["name"], added["values"])
    values = {name: value for name, value in config.items() if name != SWEEP}
    folder = Path(added.get("paths", [os.getcwd()])[0])
    (case,) = make_recipe({"common": values}, folder=folder, place="search space").cases
    return case


def _stores() -> tuple[ResultStore, ResultStore]:
    """The trial's and the experiment's folder in the experiment's storage."""
    storage = tune.get_context().get_storage()
    kind = storage.storage_filesystem.type_name
    start = "" if kind == "local" else f"{kind}://"
    return ResultStore(start + storage.trial_fs_path), ResultStore(
        start + storage.experiment_fs_path
    )


def _searcher(root: ResultStore) -> Searcher:
    """This process's own, so that a reused actor keeps what searches share."""
    if root.address not in _searchers:
        _searchers.clear()
        _shared.close()
        _searchers[root.address] = Searcher(_shared.enter_context(root.open_shared()))
    return _searchers[root.address]


def _reported(row: SearchRow) -> dict[str, Any]:
    """The row, and its numbers beside for TensorBoard and Tune's tables."""
    shown = ("state", "score", "predicted_seconds", "measured_seconds", "macs", "bytes")
    return {name: getattr(row, name) for name in shown} | {"row": row_to_json(row)}
