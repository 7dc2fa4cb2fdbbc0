"""The front as text: where points are, that it fits, in Unicode and in ASCII."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from automl.cli.front_plot import ROWS, FrontPlot, front_of
from automl.pipeline import Course, TrialPoint

COURSE = Course(trials=9, limit=0.005)


def point(number: int, latency: float | None, score: float | None) -> TrialPoint:
    state = "FAILED" if score is None else "COMPLETE"
    return TrialPoint(number, state, score, latency, 1e6, 1e5, 0.5, course=COURSE)


def drawn(plot: FrontPlot, width: int, encoding: str = "utf-8") -> list[str]:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    Console(file=file, width=width, color_system=None).print(plot)
    file.flush()
    return raw.getvalue().decode(encoding).splitlines()


def filled() -> FrontPlot:
    plot = FrontPlot()
    for number, (latency, score) in enumerate([(0.001, 0.5), (0.003, 0.4), (0.004, 0.9)]):
        plot.add(point(number, latency, score))
    plot.add(point(3, None, 0.99))  # no price: it has no place
    plot.add(point(4, 0.002, None))
    return plot


@pytest.mark.parametrize("width", [30, 80, 200])
def test_it_fits_whatever_the_width(width: int) -> None:
    lines = drawn(filled(), width)
    assert len(lines) == ROWS + 3
    assert max(map(len, lines)) <= min(width, 80)


def test_points_are_where_they_belong() -> None:
    lines = drawn(filled(), 80)
    area = [line[9:].ljust(71) for line in lines[1 : ROWS + 1]]
    assert area[0].index("●") == round(0.75 * 70)  # the best: highest, three quarters of the way
    assert [row.rstrip()[-1] for row in area] == ["┊"] * ROWS  # the budget
    assert area[-1].index("·") == round(0.5 * 70)  # beaten by the first, and the lowest
    assert any(row.startswith("o") for row in area)
    assert lines[1].startswith("    0.9")
    assert lines[-1].split() == ["1.00", "ms", "5.00", "ms", "(budget)"]


def test_one_bad_trial_does_not_flatten_the_others() -> None:
    plot = FrontPlot()
    scores = (0.905, 0.91, 0.915, 0.92, 0.93, 0.1)
    for number, score in enumerate(scores):
        plot.add(point(number, 0.001 + 0.0005 * number, score))
    lines = drawn(plot, 80)
    assert lines[0].endswith("▾ 1 lower")
    assert max(map(len, lines)) <= 80
    area = [line[9:] for line in lines[1 : ROWS + 1]]
    assert "▾" in area[-1]
    assert len({row for row, text in enumerate(area) if "o" in text or "●" in text}) >= 3
    assert float(lines[ROWS].split()[0]) > 0.8
    assert "v 1 lower" in drawn(plot, 80, "ascii")[0]


def test_a_terminal_without_unicode_has_ascii() -> None:
    assert all(line.isascii() for line in drawn(filled(), 80, "ascii"))


def test_another_study_begins_anew_and_nothing_is_drawn_of_nothing() -> None:
    plot = filled()
    other = Course(quantity="macs")
    plot.add(TrialPoint(0, "COMPLETE", 0.3, None, 1e6, 1e5, 0.5, course=other))
    lines = drawn(plot, 80)
    assert "MACs" in lines[0]
    assert sum(line.count("●") for line in lines[1:]) == 1
    assert not FrontPlot()
    assert drawn(FrontPlot(), 80) in ([], [""])


def test_the_front_is_what_no_other_beats() -> None:
    assert front_of([(2, 0.5), (1, 0.4), (3, 0.5), (1, 0.3)]) == [(1, 0.4), (2, 0.5)]
