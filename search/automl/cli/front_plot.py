"""The front of a search as a plot of a few lines of text."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import inf
from typing import Final, NamedTuple

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

from automl.errors import printable
from automl.pipeline import Course, TrialPoint
from automl.report import lowest_shown
from automl.units import format_quantity

#: Lines of the area that points are drawn in, and the widest that it is.
ROWS: Final = 8
WIDEST: Final = 80
#: Columns of the scores beside it, with what divides them from it.
_LABEL: Final = 9
#: Trials that are drawn; of more, the latest.
_DRAWN: Final = 5000


class PlotMarks(NamedTuple):
    """What the plot is drawn with."""

    trial: str
    front: str
    best: str
    below: str
    limit: str
    upright: str
    corner: str
    level: str


SIGNS: Final = PlotMarks("·", "o", "●", "▾", "┊", "│", "└", "─")
ASCII: Final = PlotMarks(".", "o", "@", "v", ":", "|", "+", "-")


class FrontPlot:
    """Score against cost of the trials of a study, the best beneath each cost joined to a front.

    Scores far below the others stand at the lower edge, as another sign. It is a renderable of
    rich, never wider than the console, of at most `ROWS` + 3 lines.
    """

    def __init__(self) -> None:
        self._course = Course()
        self._points: deque[tuple[float, float]] = deque(maxlen=_DRAWN)
        self._front: list[tuple[float, float]] = []

    def add(self, trial: TrialPoint) -> None:
        """Take in a trial; one of another study begins anew."""
        if trial.course != self._course:
            self._course = trial.course
            self._points.clear()
            self._front = []
        if trial.score is None or trial.cost is None:
            return
        point = (trial.cost, trial.score)
        self._points.append(point)
        self._front = front_of([*self._front, point])

    def __bool__(self) -> bool:
        return bool(self._front)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        width = min(options.max_width, WIDEST)
        return Measurement(width, width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        signs = ASCII if options.ascii_only else SIGNS
        width = min(options.max_width, WIDEST) - _LABEL
        if self._front and width > _LABEL:
            for text in self._lines(width, signs):
                text.no_wrap, text.overflow = True, "crop"
                yield text

    def _lines(self, width: int, signs: PlotMarks) -> list[Text]:
        front, points = self._front, tuple(self._points)
        shown = [*points, *front]
        limit = self._course.limit
        costs = [cost for cost, _ in shown] + ([limit] if limit is not None else [])
        across = _Scale(min(costs), max(costs), width)
        reached = [score for _, score in shown]
        low = lowest_shown([score for _, score in points])
        scores = _Scale(min(reached) if low is None else low, max(reached), ROWS)
        below = [point for point in points if point[1] < scores.low]
        area = [[(" ", "")] * width for _ in range(ROWS)]
        if limit is not None:
            for row in area:
                row[across.place(limit)] = (signs.limit, "yellow")
        for some, sign, style in (
            (points, signs.trial, "dim"),
            (front, signs.front, "cyan"),
            (front[-1:], signs.best, "bold green"),
            (below, signs.below, "yellow"),
        ):
            for cost, score in some:
                area[ROWS - 1 - scores.place(score)][across.place(cost)] = (sign, style)
        return [
            self._caption(signs, len(below)),
            *(
                Text.assemble((self._beside(row, scores), "dim"), (signs.upright, "dim"), *cells)
                for row, cells in enumerate(area)
            ),
            Text(" " * (_LABEL - 1) + signs.corner + signs.level * width, "dim"),
            self._beneath(across, width, limit),
        ]

    def _beside(self, row: int, scores: _Scale) -> str:
        """The score at a row's height, at the first, the middle and the last."""
        if row not in (0, ROWS - 1) and not (row == ROWS // 2 and scores.high > scores.low):
            return " " * (_LABEL - 1)
        value = scores.value(ROWS - 1 - row)
        return f"{value:{_LABEL - 2}.4g}"[: _LABEL - 2] + " "

    def _beneath(self, across: _Scale, width: int, limit: float | None) -> Text:
        low, high = self._shown(across.low), self._shown(across.high)
        if limit is not None and limit >= across.high:
            high += " (budget)"
        gap = max(1, width - len(low) - len(high))
        return Text(" " * _LABEL + low + " " * gap + high, "dim")

    def _shown(self, value: float) -> str:
        return format_quantity(self._course.quantity, value, self._course.unit)

    def _caption(self, signs: PlotMarks, below: int) -> Text:
        what = {"latency": "predicted latency", "bytes": "size", "joules": "predicted energy"}
        quantity = what.get(self._course.quantity, "MACs")
        if self._course.unit == "cycles" and self._course.quantity == "latency":
            quantity = "simulated cycles"
        words = f"score against {quantity}: {signs.trial} trial  {signs.front} front  "
        lower = f"  {signs.below} {below} lower" if below else ""
        return Text(printable(f"{words}{signs.best} best{lower}"))


class _Scale:
    """Values between two ends as places from 0 on."""

    def __init__(self, low: float, high: float, places: int) -> None:
        self.low, self.high, self._places = low, high, places

    def place(self, value: float) -> int:
        """The place of a value; where both ends are one, the last."""
        span = self.high - self.low
        share = (value - self.low) / span if span > 0 else 1.0
        return min(self._places - 1, max(0, round(share * (self._places - 1))))

    def value(self, place: int) -> float:
        """The value in the middle of a place."""
        return self.low + (self.high - self.low) * place / max(1, self._places - 1)


def front_of(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points (cost, score) that no other beats in both, the cheapest first."""
    found: list[tuple[float, float]] = []
    best = -inf
    for cost, score in sorted(points, key=lambda point: (point[0], -point[1])):
        if score > best:
            best = score
            found.append((cost, score))
    return found
