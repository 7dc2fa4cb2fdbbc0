"""The agents' benchmark as markdown tables and a plot; what was not run is called so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, Protocol

import numpy as np

COLOURS = (
    *("#c2410c", "#1d4ed8", "#047857", "#7c3aed", "#b45309"),
    *("#be185d", "#0e7490", "#4d7c0f", "#475569", "#000000"),
)
WIDTH, HEIGHT, LEFT, TOP = 430, 250, 60, 34


class Found(Protocol):
    """What the benchmark wrote down."""

    rows: list[dict[str, Any]]
    finished: dict[tuple[str, str], float]


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
    for number, (name, problem) in enumerate(problems.items()):
        variants = list(dict.fromkeys(row["variant"] for row in _runs(found, name)))
        print(f"\n### {name}: dense {problem['dense']:.2f} %, budget {problem['budget']}\n")
        print(f"| agent | {' | '.join(f'{each:,}' for each in checkpoints)} | least error | kept |")
        print(f"|---|{'---|' * (len(checkpoints) + 2)}")
        for variant in variants:
            cells = [str(cell(found, name, variant, each)) for each in checkpoints]
            ends = f"{_least(found, name, variant)} | {_split(found, name, variant)}"
            print(f"| {variant} | {' | '.join(cells)} | {ends} |")
        panels += panel(found, name, variants, number)
    draw(panels, len(problems), path)


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


def panel(found: Found, problem: str, variants: Sequence[str], number: int) -> list[str]:
    """One plot: the least error so far against evaluations, lines of means, bands of all seeds."""
    each, down = _each(found, problem), TOP + number * (HEIGHT + 70)
    curves = {variant: _curves(found, problem, variant) for variant in variants}
    longest = max(len(curve) for some in curves.values() for curve in some) * each
    errors = np.concatenate([curve for some in curves.values() for curve in some])
    low, high = float(errors.min()) / 1.15, float(errors.max()) * 1.15

    def at(candidate: int, error: float) -> str:
        x = np.log(candidate) / np.log(longest / each)
        y = np.log(error / low) / np.log(high / low)
        return f"{LEFT + WIDTH * x:.1f},{down + HEIGHT * (1 - y):.1f}"

    parts = [f'<text x="{LEFT}" y="{down - 10}" font-weight="bold">{problem}</text>']
    parts += _axes(down, each, longest, low, high)
    for place, variant in enumerate(variants):
        colour = COLOURS[place % len(COLOURS)]
        dash = ' stroke-dasharray="5 3"' if "(cold)" in variant else ""
        some = _filled(curves[variant])
        steps = range(some.shape[1])
        band = [at(i + 1, some[:, i].min()) for i in steps]
        band += [at(i + 1, some[:, i].max()) for i in reversed(steps)]
        line = [at(i + 1, some[:, i].mean()) for i in steps]
        y = down + 14 * place
        x = LEFT + WIDTH + 18
        parts += [
            f'<polygon points="{" ".join(band)}" fill="{colour}" opacity="0.12"/>',
            f'<polyline points="{" ".join(line)}" fill="none" stroke="{colour}"{dash}/>',
            f'<circle cx="{line[-1].split(",")[0]}" cy="{line[-1].split(",")[1]}" r="2.5" '
            f'fill="{colour}"/>',
            f'<path d="M{x} {y}h22" stroke="{colour}" stroke-width="2"{dash}/>',
            f'<text x="{x + 28}" y="{y + 4}">{variant}</text>',
        ]
    return parts


def draw(panels: Sequence[str], count: int, path: Path) -> None:
    """Write the plot."""
    height = TOP + count * (HEIGHT + 70)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 170} {height}" '
        'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>'
    )
    path.write_text("\n".join([head, *panels, "</svg>"]) + "\n", encoding="utf-8")


def _axes(down: int, each: int, longest: int, low: float, high: float) -> list[str]:
    parts = [
        f'<path d="M{LEFT} {down}v{HEIGHT}h{WIDTH}" fill="none" stroke="#333"/>',
        f'<text x="{LEFT + WIDTH / 2}" y="{down + HEIGHT + 34}" text-anchor="middle">'
        "image evaluations of candidates</text>",
        f'<text transform="translate(14 {down + HEIGHT / 2}) rotate(-90)" text-anchor="middle">'
        "least error of the logits so far</text>",
    ]
    for mark in (250, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000):
        if each <= mark <= longest:
            x = LEFT + WIDTH * np.log(mark / each) / np.log(longest / each)
            parts.append(
                f'<text x="{x:.0f}" y="{down + HEIGHT + 16}" text-anchor="middle">{mark:,}</text>'
                f'<path d="M{x:.0f} {down}v{HEIGHT}" stroke="#eee"/>'
            )
    for mark in np.round(np.geomspace(low, high, 6), 3).tolist():
        y = down + HEIGHT * (1 - np.log(mark / low) / np.log(high / low))
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.0f}" text-anchor="end">{mark:g}</text>')
    return parts


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
