"""Popular networks: how many are read, how much of each is open, and how right what is cut is.

    python tests/benchmarks/bench_zoo.py read --networks ../shared/zoo/nets.py [FILTER...]
    python tests/benchmarks/bench_zoo.py tp --networks ../shared/zoo/nets.py [FILTER...]
    python tests/benchmarks/bench_zoo.py table --networks ../shared/zoo/nets.py

The networks come from packages that automl needs nothing of; in an environment of their own:
`pip install --no-deps timm torchvision segmentation-models-pytorch transformers ultralytics` and
what they ask for beside torch. `read`: each network in a process of its own, on one core; its
seconds are CPU time. `tp`: the same halving by Torch-Pruning. Rows go to a file of JSON lines;
networks that have one are not run again. `table` writes the rows as Markdown.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import sys
import traceback
import warnings
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from zoo_stages import PACKAGES, STAGES, Entry, Row, load_networks, missing_packages
from zoo_table import write_table

#: A network that takes longer is stopped.
LIMIT_S = 180.0


def run(stage: str, entry: Entry) -> Row:
    """What one stage says of one network, in a process that may be stopped."""
    context = multiprocessing.get_context("fork")  # what was imported need not be imported again
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(theirs, stage, entry))
    process.start()
    theirs.close()
    try:
        if not ours.poll(LIMIT_S):
            return {"read": "stopped", "why": f"it took over {LIMIT_S:.0f} seconds"}
        row: Row = ours.recv()
    except EOFError:
        return {"read": "died", "why": f"the process ended with {process.exitcode}"}
    else:
        return row
    finally:
        process.terminate()
        process.join()


def _child(answer: Connection, stage: str, entry: Entry) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
        try:
            row = STAGES[stage](entry)
        except Exception as error:  # a row says it
            last = traceback.extract_tb(error.__traceback__)[-1]
            at = f"{Path(last.filename).name}:{last.lineno}"
            row = {"read": "raised", "why": f"{type(error).__name__}: {error}"[:400], "at": at}
    answer.send(row)


def rows_of(path: Path) -> list[Row]:
    """The rows of a file, none where there is none."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else ()
    return [json.loads(line) for line in lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=(*STAGES, "table"))
    parser.add_argument("filters", nargs="*", help="parts of names or families; all without")
    parser.add_argument("--networks", type=Path, required=True, help="a file that names them in N")
    parser.add_argument("--out", type=Path, default=Path("build/zoo.jsonl"))
    options = parser.parse_args()
    if options.stage == "table":
        print(write_table(rows_of(options.out)))
        return
    entries = load_networks(options.networks)
    if missing := missing_packages():
        print(
            f"no {', '.join(missing)}: pip install --no-deps {' '.join(PACKAGES)}", file=sys.stderr
        )
    done = {(row["stage"], row["network"]) for row in rows_of(options.out)}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for name, entry in entries.items():
        wanted = any(word in name or word == entry[0] for word in options.filters or [""])
        if wanted and (options.stage, name) not in done:
            row = {"stage": options.stage, "network": name, "family": entry[0]}
            row |= run(options.stage, entry)
            with options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(name, {key: row[key] for key in ("read", "seconds", "half", "why") if key in row})


if __name__ == "__main__":
    main()
