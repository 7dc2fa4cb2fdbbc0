"""The agents' benchmark as markdown tables and a plot; what was not run is called so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, Protocol

import numpy as np

COLOURS = (
    *("#c2410c", "#1d4ed8", "#047857", "#7c3aed", "#eab308"),
    *("#be185d", "#0e7490", "#4d7c0f", "#475569", "#000000"),
)
WIDTH, HEIGHT, LEFT, TOP = 360, 230, 60, 34


class Found(Protocol):
    """What the benchmark wrote down."""

    rows: list[dict[str, Any]]
    finished: dict[tuple[str, str], float]
    refused: dict[tuple[str, str], str]


@dataclass(frozen=True, slots=True)
class Cell:
    """A variant at a checkpoint: accuracies of the seeds that were finished, and seeds searched."""

    accuracies: tuple[float, ...]
    searched: int

    def __str__(self) -> str:
        if not self.accuracies:
            return "searched, not finished" if self.searched else "not run"
        seeds = len(self.accuracies)
        low, high = min(self.accuracies), max(self.accuracies)
        spread = f" ({low:.2f} to {high:.2f})" if seeds > 1 and high > low else ""
        few = "" if seeds == 3 else f", {seeds} seed{'s' * (seeds > 1)}"
        return f"{mean(self.accuracies):.2f}{spread}{few}"


def report(found: Found, path: Path, checkpoints: Sequence[int]) -> None:
    """Print a table a problem and draw them all."""
    problems = {row["problem"]: row for row in found.rows if row["kind"] == "problem"}
    panels: list[str] = []
    drawn: list[str] = []
    for name, problem in problems.items():
        variants = list(dict.fromkeys(row["variant"] for row in _runs(found, name)))
        print(f"\n### {name}: dense {problem['dense']:.2f} %, budget {problem['budget']}\n")
        print(f"| agent | {' | '.join(f'{each:,}' for each in checkpoints)} | least error | kept |")
        print(f"|---|{'---|' * (len(checkpoints) + 2)}")
        for variant in variants:
            cells = [_shown(found, name, variant, each, checkpoints) for each in checkpoints]
            ends = f"{_least(found, name, variant)} | {_split(found, name, variant)}"
            print(f"| {variant} | {' | '.join(cells)} | {ends} |")
        for (where, variant), reason in found.refused.items():
            if where == name:
                print(f"| {variant} | {reason} |{' |' * (len(checkpoints) + 1)}")
        if len(variants) > 1:
            drawn.append(name)
            panels += panels_of(found, name, variants, len(drawn) - 1)
    draw(panels, len(drawn), path)


def _shown(
    found: Found, problem: str, variant: str, evaluations: int, checkpoints: Sequence[int]
) -> str:
    """The cell of a checkpoint; agents that had ended by the one before are not run on."""
    before = max((each for each in checkpoints if each < evaluations), default=0)
    runs = [run for run in _runs(found, problem) if run["variant"] == variant]
    if all(run["ended"] and run["candidates"] * _each(found, problem) <= before for run in runs):
        return "ended"
    return str(cell(found, problem, variant, evaluations))


def cell(found: Found, problem: str, variant: str, evaluations: int) -> Cell:
    """What is known of a variant at a checkpoint."""
    accuracies: dict[int, float] = {}
    seeds: set[int] = set()
    for run in _runs(found, problem):
        if run["variant"] == variant and (run["ended"] or run["evaluations"] >= evaluations):
            seeds.add(run["seed"])
            key = best_at(run, evaluations, _each(found, problem))
            if (problem, key) in found.finished:
                accuracies[run["seed"]] = found.finished[problem, key]
    return Cell(tuple(accuracies.values()), len(seeds))


def best_at(run: Mapping[str, Any], evaluations: int, each: int) -> str:
    """The best policy of a run after so many evaluations of `each` a candidate; "" for none."""
    if not run or not (run["ended"] or run["evaluations"] >= evaluations):
        return ""
    known = [key for number, _, key in run["curve"] if number * each <= evaluations]
    return known[-1] if known else ""


@dataclass(frozen=True, slots=True)
class Axes:
    """A plot's place and its logarithmic or linear scales."""

    left: int
    down: int
    first: float
    last: float
    low: float
    high: float
    logarithmic: bool

    def at(self, evaluations: float, value: float) -> str:
        """A point as "x,y"."""
        x = np.log(evaluations / self.first) / np.log(self.last / self.first)
        y = (value - self.low) / (self.high - self.low)
        if self.logarithmic:
            y = np.log(value / self.low) / np.log(self.high / self.low)
        return f"{self.left + WIDTH * x:.1f},{self.down + HEIGHT * (1 - y):.1f}"

    def drawn(self, title: str) -> list[str]:
        """The frame, its marks and its title."""
        parts = [
            f'<path d="M{self.left} {self.down}v{HEIGHT}h{WIDTH}" fill="none" stroke="#333"/>',
            f'<text x="{self.left}" y="{self.down - 10}" font-weight="bold">{title}</text>',
            f'<text x="{self.left + WIDTH / 2}" y="{self.down + HEIGHT + 34}" '
            'text-anchor="middle">image evaluations of candidates</text>',
        ]
        for mark in (250, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000):
            if self.first <= mark <= self.last * 1.01:
                x = self.at(mark, self.high).split(",")[0]
                parts.append(
                    f'<text x="{x}" y="{self.down + HEIGHT + 16}" text-anchor="middle">'
                    f'{mark:,}</text><path d="M{x} {self.down}v{HEIGHT}" stroke="#eee"/>'
                )
        scale = np.geomspace if self.logarithmic else np.linspace
        for value in scale(self.low, self.high, 6).tolist():
            y = float(self.at(self.first, value).split(",")[1])
            shown = f"{value:.3f}" if self.logarithmic else f"{value:.1f}"
            parts.append(
                f'<text x="{self.left - 6}" y="{y + 4:.0f}" text-anchor="end">{shown}</text>'
            )
        return parts


def panels_of(found: Found, problem: str, variants: Sequence[str], number: int) -> list[str]:
    """Two plots of a problem and their legend."""
    down = TOP + number * (HEIGHT + 70)
    parts = errors_drawn(found, problem, variants, down)
    parts += accuracies_drawn(found, problem, variants, down)
    x = 2 * (LEFT + WIDTH) + 18
    for place, variant in enumerate(variants):
        y = down + 14 * place
        parts += [
            f'<path d="M{x} {y}h22" stroke-width="2" {_style(place, variant)}/>',
            f'<text x="{x + 28}" y="{y + 4}">{variant}</text>',
        ]
    return parts


def errors_drawn(found: Found, problem: str, variants: Sequence[str], down: int) -> list[str]:
    """The least error so far against evaluations: lines of means, bands of all seeds."""
    each = _each(found, problem)
    curves = {variant: _filled(_curves(found, problem, variant)) for variant in variants}
    longest = max(some.shape[1] for some in curves.values()) * each
    errors = np.concatenate([some.ravel() for some in curves.values()])
    low, high = float(errors.min()) / 1.1, float(errors.max()) * 1.1
    axes = Axes(LEFT, down, each, longest, low, high, True)
    parts = axes.drawn(f"{problem}: least error of the logits so far, in the search")
    for place, variant in enumerate(variants):
        some = curves[variant]
        numbers = range(1, some.shape[1] + 1)
        low_side = [axes.at(n * each, some[:, n - 1].min()) for n in numbers]
        high_side = [axes.at(n * each, some[:, n - 1].max()) for n in numbers]
        line = [axes.at(n * each, some[:, n - 1].mean()) for n in numbers]
        band = " ".join([*low_side, *reversed(high_side)])
        parts += [
            f'<polygon points="{band}" fill="{COLOURS[place % len(COLOURS)]}" opacity="0.12"/>',
            f'<polyline points="{" ".join(line)}" fill="none" {_style(place, variant)}/>',
            _dot(line[-1], place),
        ]
    return parts


def accuracies_drawn(found: Found, problem: str, variants: Sequence[str], down: int) -> list[str]:
    """Test accuracy of finished policies at checkpoints: means, bars over all seeds."""
    each = _each(found, problem)
    points: dict[str, list[tuple[float, tuple[float, ...]]]] = {}
    for variant in variants:
        runs = [run for run in _runs(found, problem) if run["variant"] == variant]
        ends = sorted({run["evaluations"] for run in runs})
        for end in ends:
            reached = max(min(end, run["candidates"] * each) for run in runs)
            accuracies = cell(found, problem, variant, end).accuracies
            if accuracies:
                points.setdefault(variant, []).append((reached, accuracies))
    if not points:
        return []
    known = [value for some in points.values() for _, values in some for value in values]
    last = max(each * 2, *(reached for some in points.values() for reached, _ in some))
    low, high = min(known) - 0.2, max(known) + 0.2
    axes = Axes(2 * LEFT + WIDTH, down, each, last, low, high, False)
    parts = axes.drawn(f"{problem}: test accuracy when finished, %")
    for place, variant in enumerate(variants):
        for reached, values in points.get(variant, []):
            ends_of_bar = (axes.at(reached, min(values)), axes.at(reached, max(values)))
            bar = f'points="{" ".join(ends_of_bar)}"'
            parts.append(f'<polyline {bar} fill="none" {_style(place, variant)}/>')
            parts.append(_dot(axes.at(reached, mean(values)), place))
    return parts


def _style(place: int, variant: str) -> str:
    dash = ' stroke-dasharray="5 3"' if "(cold)" in variant else ""
    return f'stroke="{COLOURS[place % len(COLOURS)]}"{dash}'


def _dot(point: str, place: int) -> str:
    x, y = point.split(",")
    return f'<circle cx="{x}" cy="{y}" r="3" fill="{COLOURS[place % len(COLOURS)]}"/>'


def draw(panels: Sequence[str], count: int, path: Path) -> None:
    """Write the plot."""
    width, height = 2 * (LEFT + WIDTH) + 170, TOP + count * (HEIGHT + 70)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>'
    )
    path.write_text("\n".join([head, *panels, "</svg>"]) + "\n", encoding="utf-8")


def _runs(found: Found, problem: str) -> list[dict[str, Any]]:
    """The longest run of each variant and seed."""
    longest: dict[tuple[str, int], dict[str, Any]] = {}
    for row in found.rows:
        if row["kind"] == "run" and row["problem"] == problem:
            key = (row["variant"], row["seed"])
            if key not in longest or row["evaluations"] > longest[key]["evaluations"]:
                longest[key] = row
    return list(longest.values())


def _each(found: Found, problem: str) -> int:
    rows = (r for r in found.rows if r["kind"] == "problem" and r["problem"] == problem)
    return int(next(rows)["evaluations"])


def _least(found: Found, problem: str, variant: str) -> str:
    """The least error of each seed's run, with the candidates that it took."""
    runs = [run for run in _runs(found, problem) if run["variant"] == variant]
    ends = [f"{-run['curve'][-1][1]:.4f} ({run['candidates']})" for run in runs]
    return ", ".join(ends)


def _split(found: Found, problem: str, variant: str) -> str:
    """What the best policy of the first seed keeps of blocks, channels and input size."""
    for run in _runs(found, problem):
        if run["variant"] == variant and "split" in run:
            split = run["split"]
            return (
                f"blocks {split['depth']:.0%}, width {split['width']:.0%}, "
                f"{split['resolution']:.0f} px"
            )
    return ""


def _curves(found: Found, problem: str, variant: str) -> list[np.ndarray[Any, Any]]:
    """Per seed the least error after each candidate."""
    result = []
    for run in _runs(found, problem):
        if run["variant"] == variant:
            errors = np.full(run["candidates"], np.inf)
            for number, score, _ in run["curve"]:
                errors[number - 1] = -score
            result.append(np.minimum.accumulate(errors))
    return result


def _filled(curves: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """Curves [seeds, candidates]; a shorter one stays where it ended."""
    most = max(len(curve) for curve in curves)
    return np.stack([np.pad(curve, (0, most - len(curve)), mode="edge") for curve in curves])
