"""How many finished trials a second can be stored: SQLite, Optuna's journal, PostgreSQL?

One search alone, then several at once in one storage, each with its own study, its lease and trials
of as many parameters as ResNet-56 has choices. PostgreSQL is started here with its usual settings,
so that a trial is on the disk when it counts.

    python tests/benchmarks/bench_storage.py --seconds 5 --writers 1 4
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "study"))
from postgresql_server import find_binaries, serving

from automl.cost import Cost
from automl.space import Space, Variable
from automl.study import Completed, leased
from automl.study.identity import Identity
from automl.study.storage import TrialStore

#: Of ResNet-56: 30 groups of channels, 27 blocks, a resolution.
SPACE: Final = Space(
    (
        Variable("resolution", "", (16, 24, 32)),
        *(Variable("channels", f"layer{i}.conv1", tuple(range(4, 65, 4))) for i in range(30)),
        *(Variable("block", f"layer{i}", (0, 1)) for i in range(27)),
    )
)
IDENTITY: Final = Identity("random", 0, "", "", "", "", "")


def write(
    address: str, name: str, seconds: float, ready: Barrier, done: Queue[tuple[int, float]]
) -> None:
    """Add trials to a study of one's own for some seconds."""
    policy = SPACE.decode(SPACE.dense)
    with leased(address, name), TrialStore(address, name, SPACE) as store:
        store.claim(IDENTITY, resume=False)
        ready.wait()
        start, count = time.monotonic(), 0
        while time.monotonic() - start < seconds:
            store.add(Completed(count, policy, Cost(0.001, 1e6, 1e6), 1.0, 0.5), asked=8)
            count += 1
        done.put((count, time.monotonic() - start))


def trials_a_second(address: str, writers: int, seconds: float) -> float:
    """Of all writers together."""
    context = multiprocessing.get_context("spawn")
    ready, done = context.Barrier(writers), context.Queue()
    processes = [
        context.Process(target=write, args=(address, f"{writers}/{i}", seconds, ready, done))
        for i in range(writers)
    ]
    for process in processes:
        process.start()
    rates = [count / spent for count, spent in (done.get(timeout=300) for _ in processes)]
    for process in processes:
        process.join()
    return sum(rates)


@contextlib.contextmanager
def storages(folder: Path) -> Iterator[dict[str, str]]:
    """Addresses by the storages' names."""
    files = {
        "SQLite": f"sqlite:///{folder / 'study.db'}",
        "journal": f"journal:///{folder / 'study.log'}",
    }
    binaries = find_binaries()
    if binaries is None:
        print("PostgreSQL is not installed: left out")
        yield files
        return
    with serving(binaries) as server:
        yield {**files, "PostgreSQL": server.address}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--writers", type=int, nargs="+", default=[1, 4])
    asked = parser.parse_args()
    print(f"{len(SPACE.variables)} parameters a trial, {os.cpu_count()} cores, trials a second")
    with tempfile.TemporaryDirectory() as name, storages(Path(name)) as addresses:
        for storage, address in addresses.items():
            for writers in asked.writers:
                rate = trials_a_second(address, writers, asked.seconds)
                print(f"{storage}, {writers} writing: {rate:.1f}", flush=True)


if __name__ == "__main__":
    main()
