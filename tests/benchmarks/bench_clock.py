"""Budgets of time on the clock: is what is delivered within 2 % over and 5 % under?

The plain command, everything default, on networks that need no download. After each search the
dense and the finished network are timed again, interleaved, by the files that it left.

    python tests/benchmarks/bench_clock.py                        # 5 budgets on 4 networks
    python tests/benchmarks/bench_clock.py --networks example --budgets 70 50
    python tests/benchmarks/bench_clock.py --table                # of the rows that are there

Rows are appended to build/clock/rows.jsonl; those that are there are not run again. All searches
share one latency table (build/clock/home).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
OUT = Path("build/clock")
#: What is added to the command: the embedded example has nothing.
NETWORKS = {
    "example": (),
    **{
        name: (
            *("--model", f"{HERE / 'bench_plain.py'}:{name}"),
            *("--data", f"{HERE / 'bench_plain.py'}:loaders"),
        )
        for name in ("resnet20", "resnet32", "resnet56")
    },
}
BUDGETS = (80, 70, 60, 50, 40)
OVER, UNDER = 0.02, 0.05


@dataclass(frozen=True, slots=True)
class Row:
    """One search.

    Attributes:
        network, budget: Which; the budget in percent of the dense latency.
        promised, measured: Shares of the dense latency, as the search ended with them.
        again: The second, timed once more.
        seconds: Of the command.
        rounds: Studies after the first, for which the clock gave another limit.
        load: Of the machine when it began.
    """

    network: str
    budget: int
    promised: float
    measured: float
    again: float
    seconds: float
    rounds: int
    load: float


def search(network: str, budget: int) -> Row:
    """One command, and its files timed again."""
    folder, load = OUT / "runs" / f"{network}-{budget}", os.getloadavg()[0]
    environment = {**os.environ, "AUTOML_HOME": str(OUT / "home"), "AUTOML_BENCH_SEED": "0"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    start = time.monotonic()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "automl", "search", "--target", "cpu", "--seed", "0"),
            *("--budget", f"{budget}%", "--out", str(folder), "--json", *NETWORKS[network]),
        ],
        stdout=subprocess.PIPE,
        env=environment,
        check=True,
    )
    seconds = time.monotonic() - start
    found = json.loads(done.stdout)
    dense, small = found["dense"], found["compressed"]
    return Row(
        network,
        budget,
        small["predicted_seconds"] / dense["predicted_seconds"],
        small["measured_seconds"] / dense["measured_seconds"],
        timed_again(folder, network),
        seconds,
        sum("this machine's clock says" in note for note in found.get("notes", ())),
        load,
    )


def timed_again(folder: Path, network: str) -> float:
    """The file's share of the dense latency, on the clock."""
    from automl.example import EXAMPLES
    from automl.export import onnx_bytes
    from automl.pipeline.pricing import measure_here
    from automl.userdata import load_model

    words = NETWORKS[network]
    os.environ.setdefault("AUTOML_BENCH_SEED", "0")
    model = load_model(words[1] if words else EXAMPLES[0].model).eval()
    shape = (1, 3, 32, 32) if words else EXAMPLES[0].input_shape
    files = {"dense": onnx_bytes(model, shape), "small": (folder / "model.onnx").read_bytes()}
    times = measure_here(files, 1, 10.0)
    return times["small"] / times["dense"]


def rows() -> list[Row]:
    """Those that are there."""
    path = OUT / "rows.jsonl"
    return (
        [Row(**json.loads(text)) for text in path.read_text().splitlines()] if path.exists() else []
    )


def table(found: list[Row]) -> str:
    """Markdown, and how many are within."""
    lines = [
        "| network | budget | promised | measured | again | of the budget | s | more studies |",
        "|---" * 8 + "|",
    ]
    lines += [
        f"| {row.network} | {row.budget} % | {row.promised:.3f} | {row.measured:.3f} |"
        f" {row.again:.3f} | {100 * row.measured / (row.budget / 100):.1f} % | {row.seconds:.0f} |"
        f" {row.rounds} |"
        for row in found
    ]
    shares = [row.measured / (row.budget / 100) for row in found]
    over, under = sum(s > 1 + OVER for s in shares), sum(s < 1 - UNDER for s in shares)
    lines.append(f"\n{len(found)} budgets: {over} over by more than 2 %, {under} under by over 5 %")
    return "\n".join(lines)


def main() -> None:
    """Make the rows that are asked for and not there, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=[*NETWORKS], default=[*NETWORKS])
    parser.add_argument("--budgets", type=int, nargs="+", default=[*BUDGETS])
    parser.add_argument("--table", action="store_true", help="of the rows that are there")
    options = parser.parse_args()
    done = {(row.network, row.budget) for row in rows()}
    OUT.mkdir(parents=True, exist_ok=True)
    for network in () if options.table else options.networks:
        for budget in options.budgets:
            if (network, budget) not in done:
                row = search(network, budget)
                with (OUT / "rows.jsonl").open("a") as file:
                    file.write(json.dumps(asdict(row)) + "\n")
                print(row, file=sys.stderr, flush=True)
    print(table(rows()))


if __name__ == "__main__":
    main()
