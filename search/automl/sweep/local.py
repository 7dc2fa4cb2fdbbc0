"""A sweep without a cluster: its searches one after another in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from automl.sweep.recipe import Case
from automl.sweep.results import SearchRow
from automl.sweep.running import Searcher
from automl.sweep.store import ResultStore

#: Told of each finished search.
OnRow = Callable[[SearchRow], None]


def run_here(
    cases: Sequence[Case], store: ResultStore, on_row: OnRow
) -> tuple[list[SearchRow], bool]:
    """The rows of the cases in order, and whether Ctrl-C left some undone.

    Args:
        cases: What is searched.
        store: Where the results go.
        on_row: Told of each finished search.
    """
    rows: list[SearchRow] = []
    with store.open_shared() as shared:
        searcher = Searcher(shared)
        try:
            for case in cases:
                rows.append(searcher.run(case, store))
                on_row(rows[-1])
        except KeyboardInterrupt:
            return rows, True
    return rows, False
