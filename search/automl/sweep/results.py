"""What a sweep found: one row a search, and the front across them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

from pydantic import TypeAdapter, ValidationError

from automl import __version__
from automl.documents import fault_of
from automl.errors import StudyError
from automl.pipeline import SearchResult
from automl.sweep.recipe import Case

State = Literal["COMPLETE", "INFEASIBLE", "STOPPED", "FAILED"]
#: States that a sweep which is started again leaves alone.
FINISHED: Final = frozenset({"COMPLETE", "INFEASIBLE", "STOPPED"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRow:
    """One search of a sweep.

    Attributes:
        case: Its name; its folder is called so.
        model, data, target, budget, agent, seed: What was searched and by whom.
        state: COMPLETE has a policy; INFEASIBLE has none within the budget; STOPPED was ended by
            the scheduler, and has the policy that was best until then; FAILED raised.
        score: Of the finished network, on test data where there is some; of a STOPPED search the
            best on validation data. Larger is better; None where there is none.
        dense_score: Of the network as it came.
        predicted_seconds, predicted_cycles, measured_seconds: Latency, where it is known.
        at_least: Whether what is predicted is a bound: some operator has no price.
        macs, bytes: Of the finished network; of a STOPPED search's best.
        trials: Policies in the study.
        seconds: Wall time of the search, with what it made for others.
        cpu_seconds: Processor time of it.
        folder: Where its files are.
        reason: Why it has no finished policy; "" where it has one.
        on_front: Whether no other search of the same data and target is better in score and cost.
    """

    case: str
    model: str
    data: str
    target: str
    budget: tuple[str, ...]
    agent: str
    seed: int
    state: State
    score: float | None = None
    dense_score: float | None = None
    predicted_seconds: float | None = None
    predicted_cycles: float | None = None
    at_least: bool = False
    measured_seconds: float | None = None
    macs: float | None = None
    bytes: float | None = None
    trials: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    folder: str = ""
    reason: str = ""
    on_front: bool = False

    @property
    def cost(self) -> float | None:
        """What fronts trade against the score: latency, or work where no time is known."""
        for found in (self.predicted_seconds, self.predicted_cycles, self.macs):
            if found is not None:
                return found
        return None


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What a sweep found.

    Attributes:
        name: The recipe's.
        out: Where everything is.
        rows: One a search, in the recipe's order; those that an interrupted sweep did not come to
            are not among them.
        skipped: So many were finished before.
        interrupted: Whether some are left.
        automl: Version of the program.
    """

    name: str
    out: str
    rows: tuple[SearchRow, ...]
    skipped: int = 0
    interrupted: bool = False
    automl: str = __version__

    @property
    def front(self) -> tuple[SearchRow, ...]:
        """Rows that no other of the same data and target beats in score and cost."""
        return tuple(row for row in self.rows if row.on_front)


def row_of(case: Case, state: State, **found: Any) -> SearchRow:
    """A case's row."""
    search, task = case.search, case.task
    return SearchRow(
        case=case.name,
        model=task.model or "",
        data=task.data or "",
        target=search.target,
        budget=search.budget,
        agent=search.agent,
        seed=search.seed,
        state=state,
        **found,
    )


def finished_row(case: Case, result: SearchResult, **found: Any) -> SearchRow:
    """The row of a search that has a policy."""
    compressed = result.compressed
    return row_of(
        case,
        "COMPLETE",
        score=compressed.score,
        dense_score=result.dense.score,
        predicted_seconds=compressed.predicted_seconds,
        predicted_cycles=compressed.predicted_cycles,
        at_least=compressed.at_least,
        measured_seconds=compressed.measured_seconds,
        macs=compressed.macs,
        bytes=compressed.bytes,
        trials=result.trials,
        **found,
    )


def with_front(rows: Sequence[SearchRow]) -> tuple[SearchRow, ...]:
    """The rows, those on the front marked; devices and data sets do not compare."""
    points: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in rows:
        if (point := _point(row)) is not None:
            points.setdefault((row.data, row.target), []).append(point)

    def leads(row: SearchRow) -> bool:
        point = _point(row)
        others = points.get((row.data, row.target), [])
        return point is not None and not any(_beats(other, point) for other in others)

    return tuple(replace(row, on_front=leads(row)) for row in rows)


def _point(row: SearchRow) -> tuple[float, float] | None:
    """Cost and score; None where one is not known."""
    if row.state != "COMPLETE" or row.cost is None or row.score is None:
        return None
    return row.cost, row.score


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] <= other[0] and one[1] >= other[1]


def row_to_json(row: SearchRow) -> dict[str, Any]:
    """Plain values, as `row_from_json` reads them."""
    return asdict(row) | {"budget": list(row.budget)}


def row_from_json(found: object, where: str = "the row") -> SearchRow:
    """The row of plain values; keys of other versions are left out.

    Args:
        found: The values.
        where: What they are, for messages.

    Raises:
        StudyError: It lacks some, or some are of another kind; the first is named.
    """
    try:
        return TypeAdapter(SearchRow).validate_python(found)
    except ValidationError as error:
        raise StudyError(f"{where}: {fault_of(error)}") from None


def result_to_json(result: SweepResult) -> str:
    """One JSON document, as results.json holds it."""
    document = {
        "name": result.name,
        "automl": result.automl,
        "out": result.out,
        "skipped": result.skipped,
        "interrupted": result.interrupted,
        "rows": [row_to_json(row) for row in result.rows],
        "front": [row.case for row in result.front],
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"
