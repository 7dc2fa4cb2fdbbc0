"""A whole sweep: what is finished is skipped, the rest is searched here or on a cluster."""

from __future__ import annotations

from automl.errors import AutomlError
from automl.sweep.local import OnRow, run_here
from automl.sweep.recipe import Recipe
from automl.sweep.results import SearchRow, SweepResult, result_to_json, with_front
from automl.sweep.running import read_record
from automl.sweep.store import ResultStore


def run_sweep(
    recipe: Recipe,
    *,
    ray: str | None = None,
    resume: bool = False,
    on_row: OnRow = lambda row: None,
) -> SweepResult:
    """Do all searches of a recipe that are not finished; the rows of all go to results.json.

    What one search raises is in its row, and ends no other.

    Args:
        recipe: What is searched.
        ray: "auto" for the cluster that this machine is of, an address, or "local" for an instance
            of its own; None, or a single search, for one after another in this process.
        resume: Whether Tune goes on with the experiment that it was in the middle of.
        on_row: Told of each search that is finished now.

    Raises:
        StudyError: The results cannot be written.
        UsageError: Ray is not installed.
        ClusterError: The cluster cannot be reached.
    """
    store = ResultStore(recipe.out)
    store.check_writable()
    done: dict[str, SearchRow] = {}
    for case in recipe.cases:
        try:
            row = read_record(case, store)
        except AutomlError:  # the search itself finds it again, and says so in its row
            continue
        if row is not None:
            done[case.name] = row
    left = [case for case in recipe.cases if case.name not in done]
    interrupted, skipped = False, len(done)
    if left and (ray is None or (len(left) == 1 and not resume)):
        rows, interrupted = run_here(left, store, on_row)
    elif left:
        from automl.sweep.tuner import run_on_ray

        assert ray is not None
        rows, interrupted = run_on_ray(left, store, recipe.ray, ray, resume=resume, on_row=on_row)
    else:
        rows = []
    done |= {row.case: row for row in rows}
    found = [done[case.name] for case in recipe.cases if case.name in done]
    result = SweepResult(recipe.name, recipe.out, with_front(found), skipped, interrupted)
    store.write("results.json", result_to_json(result).encode())
    return result
