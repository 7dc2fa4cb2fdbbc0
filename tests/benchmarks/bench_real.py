"""EfficientNet-Lite1 and -Lite2 with ImageNet weights at 85, 70 and 50 % of the measured latency.

No training. 250 photos to calibrate and choose, 250 that judge, each once a row (how to get
networks and photos: efficientnet_lite.py). The searches are the plain command. Beside them:

    ours, ours-float           automl search, everything default; and of floats alone
    greedy, greedy-float       the same with --agent greedy
    uniform                    one share of channels everywhere, with our refit
    resolution                 the input alone smaller, in steps of 8 pixels
    torch-pruning              its global ranking, channels in steps of 8, batch norms taken anew
    int8, int8-float-ends      ONNX Runtime's static INT8; first and last layer in float. No budget

    python tests/benchmarks/bench_real.py [--networks lite1] [--budgets 70] [--methods ours-float]
    python tests/benchmarks/bench_real.py --table       # of the rows that are there

Each row is a process of its own: its seconds, CPU seconds and peak memory are those of the whole
command, judging and measuring among them. Rows are appended to build/real/rows.jsonl; those that
are there are not run again. All searches share one latency table (build/real/home), so that the
first measures for those after it; `--first` gives each search one of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
#: What is added to the plain command.
SEARCHES = {
    "ours": (),
    "ours-float": ("--precisions", "float"),
    "greedy": ("--agent", "greedy"),
    "greedy-float": ("--agent", "greedy", "--precisions", "float"),
    "uniform": (
        *("--agent", "uniform", "--precisions", "float"),
        *("--resolutions", "off", "--no-depth"),
    ),
}
#: Of real_methods.py; what has no budget is run once a network.
OTHERS = ("resolution", "torch-pruning", "int8", "int8-float-ends")
WITHOUT_BUDGET = ("int8", "int8-float-ends")
METHODS = (*SEARCHES, *OTHERS)


@dataclass(frozen=True, slots=True)
class Row:
    """One network of one method. Accuracies in percent of the photos that judge.

    Attributes:
        network, method, seed: Which row it is.
        budget: Percent of the dense latency; None of what has none.
        first: Whether the search began with an empty latency table.
        dense, accuracy: Before and after.
        raw, refitted: Before and after what finishes the weights; None where there is no such step.
        promised, measured: Shares of the dense latency, the second interleaved with it.
        seconds, cpu_seconds, peak_mb: Of the whole command.
        operators: Rows that the latency table gained.
        file, lost, gained: Of the ONNX file: its accuracy, the photos that the dense network alone
            names rightly, and those that the file alone does; None where it was not asked.
        stages: Seconds of a search's stages.
        detail: What was chosen.
        load, ended: Of the machine when the row began; when it was done.
    """

    network: str
    method: str
    budget: int | None
    seed: int
    first: bool
    dense: float
    accuracy: float
    raw: float | None
    refitted: float | None
    promised: float | None
    measured: float | None
    seconds: float
    cpu_seconds: float
    peak_mb: float
    operators: int
    file: float | None
    lost: int | None
    gained: int | None
    stages: dict[str, float]
    detail: str
    load: float
    ended: str

    @property
    def key(self) -> tuple[str, int | None, str, int, bool]:
        """What is not run twice."""
        return (self.network, self.budget, self.method, self.seed, self.first)


@dataclass(frozen=True, slots=True)
class Ended:
    """What a process printed and took."""

    printed: str
    seconds: float
    cpu_seconds: float
    peak_mb: float


def run(command: list[str], home: Path) -> Ended:
    """A process of its own, all cores, with a folder for its latency tables.

    Raises:
        RuntimeError: It failed; with what it said.
    """
    environment = {**os.environ, "AUTOML_HOME": str(home)}
    environment.pop("OMP_NUM_THREADS", None)
    start = time.monotonic()
    errors = home / "stderr.txt"
    with errors.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, *command], stdout=subprocess.PIPE, stderr=file, env=environment
        )
        assert process.stdout is not None
        printed = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)  # of it and of what it waited for, no other child
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: {errors.read_text()[-2000:]}")
    return Ended(
        printed,
        time.monotonic() - start,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss * 1024 / 1e6,
    )


def operators_in(home: Path) -> int:
    """Rows of the latency tables of a folder."""
    tables = home.glob("tables/*.jsonl")
    return sum(len(path.read_text().splitlines()) - 1 for path in tables)


def stages_of(log: Path) -> dict[str, float]:
    """Seconds from the beginning of each stage of a run to the next."""
    lines = [json.loads(text) for text in log.read_text().splitlines()]
    began = [(line["stage"], line["at_seconds"]) for line in lines if "stage" in line]
    found: dict[str, float] = {}
    for (stage, start), (_, end) in pairwise(began):
        found[stage] = round(found.get(stage, 0.0) + end - start, 2)
    return found


def described(policy: dict[str, Any]) -> str:
    """What a policy file chose, in few words."""
    channels, bits = policy["channels"].values(), policy["bits"].values()
    thinned = sum(group["kept"] < group["dense"] for group in channels)
    words = [f"{policy['resolution']} pixels"] if policy["resolution"] else []
    words += [f"{thinned} groups thinned"] if thinned else []
    words += [f"{len(policy['removed'])} blocks left out"] if policy["removed"] else []
    words += [f"{len(bits)} layers rounded"] if bits else []
    return ", ".join(words)


@dataclass(frozen=True, slots=True)
class Bench:
    """Where rows are kept, and how they are made."""

    out: Path
    seed: int
    first: bool

    @property
    def path(self) -> Path:
        """The rows, a line each."""
        return self.out / "rows.jsonl"

    def rows(self) -> list[Row]:
        """All that are there."""
        if not self.path.is_file():
            return []
        return [Row(**json.loads(text)) for text in self.path.read_text().splitlines()]

    def add(self, network: str, budget: int | None, method: str) -> Row:
        """Make a row and append it."""
        make = self.search if method in SEARCHES else self.other
        row = make(network, budget, method)
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(row)) + "\n")
        return row

    def search(self, network: str, budget: int | None, method: str) -> Row:
        """The plain command, and then what its run folder tells."""
        name = f"{network}-{budget}-{method}-{self.seed}{'-first' * self.first}"
        folder, home = self.out / "runs" / name, self.home(name)
        load, known = os.getloadavg()[0], operators_in(home)
        module = HERE / "efficientnet_lite.py"
        ended = run(
            [
                *("-m", "automl", "search", "--target", "cpu", "--budget", f"{budget}%"),
                *("--model", f"{module}:{network}", "--data", f"{module}:{network}_loaders"),
                *("--seed", str(self.seed), "--out", str(folder), "--json"),
                *SEARCHES[method],
            ],
            home,
        )
        operators = operators_in(home) - known
        told = json.loads(ended.printed)
        dense, small = told["dense"], told["compressed"]
        script = str(HERE / "real_methods.py")
        checked = json.loads(last(run([script, "check", network, "--run", str(folder)], home)))
        return Row(
            network=network,
            method=method,
            budget=budget,
            seed=self.seed,
            first=self.first,
            dense=100 * dense["score"],
            accuracy=100 * small["score"],
            raw=checked["raw"],
            refitted=100 * small["score"],
            promised=small["predicted_seconds"] / dense["predicted_seconds"],
            measured=small["measured_seconds"] / dense["measured_seconds"],
            seconds=ended.seconds,
            cpu_seconds=ended.cpu_seconds,
            peak_mb=ended.peak_mb,
            operators=operators,
            file=checked["file"],
            lost=checked["lost"],
            gained=checked["gained"],
            stages=stages_of(folder / "log.jsonl"),
            detail=f"{described(told['policy'])}; {told['trials']} trials",
            load=load,
            ended=f"{datetime.now():%Y-%m-%d %H:%M}",
        )

    def other(self, network: str, budget: int | None, method: str) -> Row:
        """A method of real_methods.py."""
        load, home = os.getloadavg()[0], self.home(method)
        share = [] if budget is None else ["--share", str(budget / 100)]
        command = [str(HERE / "real_methods.py"), method, network, "--seed", str(self.seed)]
        ended = run([*command, *share], home)
        found = json.loads(last(ended))
        return Row(
            network=network,
            method=method,
            budget=budget,
            seed=self.seed,
            first=self.first,
            promised=None,
            seconds=ended.seconds,
            cpu_seconds=ended.cpu_seconds,
            peak_mb=ended.peak_mb,
            operators=0,
            file=None,
            lost=None,
            gained=None,
            stages={},
            load=load,
            ended=f"{datetime.now():%Y-%m-%d %H:%M}",
            **found,
        )

    def home(self, name: str) -> Path:
        """Where latency tables are kept: of all searches, or of this one."""
        folder = self.out / "homes" / name if self.first else self.out / "home"
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def last(ended: Ended) -> str:
    """The last line that a process printed."""
    return ended.printed.strip().splitlines()[-1]


def table(rows: list[Row]) -> str:
    """Markdown, a line each row, best first within a budget."""
    titles = (
        *("network", "budget", "method", "accuracy", "drop", "raw", "refitted"),
        *("promised", "measured", "s", "CPU s", "MB", "operators", "seed", "chosen"),
    )
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    order = sorted(rows, key=lambda r: (r.network, -(r.budget or 0), r.dense - r.accuracy))
    lines += [f"| {' | '.join(cells(row))} |" for row in order]
    return "\n".join(lines)


def cells(row: Row) -> tuple[str, ...]:
    """Of one row, as they are printed."""

    def given(value: float | None, digits: int) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    return (
        row.network,
        "-" if row.budget is None else f"{row.budget} %",
        row.method + " (first)" * row.first,
        f"{row.dense:.1f} -> {row.accuracy:.1f}",
        f"{row.dense - row.accuracy:.1f}",
        given(row.raw, 1),
        given(row.refitted, 1),
        given(row.promised, 3),
        given(row.measured, 3),
        f"{row.seconds:.0f}",
        f"{row.cpu_seconds:.0f}",
        f"{row.peak_mb:.0f}",
        f"{row.operators:,}",
        str(row.seed),
        row.detail,
    )


def made_worse(rows: list[Row]) -> list[str]:
    """What a refit should never do: rows that it made worse by more than 0.2 points."""
    return [
        f"{row.network} at {row.budget} %, {row.method}: {row.raw:.1f} raw, {row.refitted:.1f}"
        for row in rows
        if row.raw is not None and row.refitted is not None and row.refitted < row.raw - 0.2
    ]


def main() -> None:
    """Make the rows that are asked for and not there, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=["lite1", "lite2"])
    parser.add_argument("--budgets", type=int, nargs="+", default=[70, 50, 85])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=[*METHODS])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", action="store_true", help="a latency table for each search")
    parser.add_argument("--out", type=Path, default=Path("build/real"))
    parser.add_argument("--table", action="store_true", help="only print it")
    options = parser.parse_args()
    bench = Bench(options.out.resolve(), options.seed, options.first)
    bench.out.mkdir(parents=True, exist_ok=True)
    asked = [
        (network, None if method in WITHOUT_BUDGET else budget, method)
        for network in options.networks
        for budget in options.budgets
        for method in options.methods
    ]
    failed = []
    for network, budget, method in [] if options.table else dict.fromkeys(asked):
        if (network, budget, method, bench.seed, bench.first) in {r.key for r in bench.rows()}:
            continue
        try:
            print(" | ".join(cells(bench.add(network, budget, method))), flush=True)
        except RuntimeError as error:
            failed.append(f"{network}, {budget}, {method}: {error}")
            print(failed[-1], file=sys.stderr, flush=True)
    print(table(bench.rows()))
    for line in made_worse(bench.rows()):
        print(f"the refit made it worse: {line}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
