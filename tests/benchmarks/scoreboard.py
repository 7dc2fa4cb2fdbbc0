"""Every method shown to work: one row each through the public registry, on ResNets for CIFAR-10.

    python tests/benchmarks/scoreboard.py                  # all rows that have no result yet
    python tests/benchmarks/scoreboard.py --rows rank-spatial ghost --seeds 0
    python tests/benchmarks/scoreboard.py --list
    python tests/benchmarks/scoreboard.py --page           # docs/scoreboard.md from the results

Rows are declared in files `scoreboard_FAMILY.py` (see `scored`). A result is a line in
`results/scoreboard_FAMILY.jsonl`, written when it is there: a run that was ended goes on where it
stopped. `--again` runs rows anew; the last line of a row, network and seed counts. Errors are
those of logits on held-out training images, relative to their variance; where test accuracy is
among the figures, all 10,000 test images were judged once.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from statistics import mean

from scored import Bench, Check, Figures, Row

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
PAGE = HERE.parents[1] / "docs" / "scoreboard.md"

INTRODUCTION = """# Scoreboard

Every method through the public registry, no training where nothing else is said. Written by
`python tests/benchmarks/scoreboard.py --page`; `make scoreboard` runs what has no result yet.
Errors are mean squared differences of held-out training images' logits, relative to their variance;
accuracies are those of all 10,000 test images, in points. Means over seeds; CPU seconds of one
seed, on a machine that had other work.
""".splitlines()


@dataclass(frozen=True, slots=True)
class Result:
    """Figures of a row on a network, one seed."""

    row: str
    network: str
    seed: int
    figures: Figures
    cpu_seconds: float


def families() -> dict[str, Sequence[Row]]:
    """All rows by the file that declares them."""
    names = sorted(path.stem for path in HERE.glob("scoreboard_*.py"))
    return {name: import_module(name).ROWS for name in names}


def results_of(folder: Path) -> dict[tuple[str, str, int], Result]:
    """What has been run, by row, network and seed."""
    found = {}
    for path in sorted(folder.glob("scoreboard_*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            result = Result(**json.loads(line))
            found[result.row, result.network, result.seed] = result
    return found


def run(family: str, rows: Sequence[Row], asked: argparse.Namespace, folder: Path) -> None:
    """Run what has no result, and write each when it is there."""
    done = {} if asked.again else results_of(folder)
    benches: dict[tuple[str, int], Bench] = {}
    for row in rows:
        for network in row.networks:
            for seed in row.seeds if asked.seeds is None else asked.seeds:
                if (row.name, network, seed) in done:
                    continue
                bench = benches.setdefault((network, seed), Bench(network, seed))
                start = time.process_time()
                figures = {name: float(f"{value:.5g}") for name, value in row.run(bench).items()}
                spent = round(time.process_time() - start, 1)
                line = {"row": row.name, "network": network, "seed": seed, "figures": figures}
                folder.mkdir(exist_ok=True)
                with (folder / f"{family}.jsonl").open("a", encoding="utf-8") as out:
                    out.write(json.dumps({**line, "cpu_seconds": spent}) + "\n")
                print(f"{row.name} {network} seed {seed}: {shown(figures)}, {spent} CPU s")


def page(rows: Sequence[Row], results: Mapping[tuple[str, str, int], Result]) -> Iterator[str]:
    """The lines of docs/scoreboard.md."""
    yield from (*INTRODUCTION, "")
    yield "| row | method | network | expected | limits | found | seeds | CPU s | |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in rows:
        for network in row.networks:
            found = [each for key, each in results.items() if key[:2] == (row.name, network)]
            yield f"| {' | '.join(cells(row, network, found))} |"


def cells(row: Row, network: str, found: Sequence[Result]) -> tuple[str, ...]:
    """Of one line of the page."""
    limits = ", ".join(map(limit, row.checks))
    start = (row.name, f"`{row.method}`", network, row.expects, limits)
    if not found:
        return (*start, "", "", "", "not run")
    figures = means(found)
    verdict = "pass" if all(check.holds(figures) for check in row.checks) else "**fail**"
    seeds = ", ".join(str(each.seed) for each in sorted(found, key=lambda each: each.seed))
    return (
        *start,
        shown(figures),
        seeds,
        f"{mean(each.cpu_seconds for each in found):.0f}",
        verdict,
    )


def means(found: Sequence[Result]) -> dict[str, float]:
    """Of each figure over seeds."""
    return {name: mean(each.figures[name] for each in found) for name in found[0].figures}


def limit(check: Check) -> str:
    """What a figure has to be."""
    low = "" if check.at_least is None else f" >= {check.at_least:g}"
    return f"{check.figure}{low}" + ("" if check.at_most is None else f" <= {check.at_most:g}")


def shown(figures: Figures) -> str:
    """On one line."""
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())


def main() -> None:
    """Run rows, list them, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", help="names; all without")
    parser.add_argument("--seeds", nargs="+", type=int, help="those of each row without")
    parser.add_argument("--again", action="store_true", help="run what has a result too")
    parser.add_argument("--list", action="store_true", help="print the names of all rows")
    parser.add_argument("--page", action="store_true", help="write docs/scoreboard.md")
    asked = parser.parse_args()
    found = families()
    names = [row.name for rows in found.values() for row in rows]
    if unknown := sorted({*(asked.rows or ())} - {*names}):
        parser.error(f"no row {unknown[0]!r}: there are {', '.join(names)}")
    if asked.list:
        print("\n".join(names))
        return
    if not asked.page:
        for family, rows in found.items():
            chosen = [row for row in rows if asked.rows is None or row.name in asked.rows]
            run(family, chosen, asked, RESULTS)
    every = [row for rows in found.values() for row in rows]
    PAGE.write_text("\n".join(page(every, results_of(RESULTS))) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
