"""Residual networks on CIFAR-10 through the plain command: accuracy, seconds and memory.

Nothing but the model, the data, the target and the budget is given: 2,000 training images to
calibrate, 1,000 others to choose by (the network was trained on them, as is usual), all 10,000 test
images to judge, no training. With --target cpu and a latency, operators are measured first.

    python tests/benchmarks/bench_plain.py                       # 70, 50 and 30 % of the MACs
    python tests/benchmarks/bench_plain.py --budgets 70% 50% 30%  # of the measured latency

Budgets are those of the command; `--precisions float` and other flags are passed on. A share of the
dense latency stands beside rows that measured it, predicted and on the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import mean

import torch
from cifar import SHARED, load_cifar, load_resnet, normalised, resnet56
from torch import Tensor, nn

__all__ = ["loaders", "resnet20", "resnet32", "resnet56"]

SEED = "AUTOML_BENCH_SEED"
CHOOSE, READ = 1000, 3000
Loader = Iterable[tuple[Tensor, Tensor]]


def resnet20() -> nn.Module:
    """As trained."""
    return load_resnet(SHARED, 20)


def resnet32() -> nn.Module:
    """As trained."""
    return load_resnet(SHARED, 32)


def loaders() -> tuple[Loader, Loader, Loader]:
    """Training images in the seed's order, others of them to choose by, and the test images."""
    data = load_cifar(SHARED)
    generator = torch.Generator().manual_seed(int(os.environ[SEED]))
    order = torch.randperm(len(data.train), generator=generator)
    chosen, rest = order[:CHOOSE], order[CHOOSE:]

    def batches(images: Tensor, labels: Tensor) -> Loader:
        parts = zip(images.split(250), labels.split(250), strict=True)
        return [(normalised(some), truth.long()) for some, truth in parts]

    few = rest[:READ]  # more than the command keeps
    return (
        batches(data.train[few], data.train_labels[few]),
        batches(data.train[chosen], data.train_labels[chosen]),
        batches(data.test, data.test_labels),
    )


def search(
    network: str,
    target: str,
    budget: str,
    seed: int,
    flags: list[str],
    program: tuple[str, ...] = ("-m", "automl"),
    out: Path | None = None,
) -> dict[str, float]:
    """What one command printed, with its seconds and gigabytes.

    Its run folder is `out`, or thrown away; the program is what this interpreter runs.
    """
    with tempfile.TemporaryDirectory() as made:
        folder = str(out or made)
        here = Path(__file__).resolve()
        words = [
            *("--model", f"{here}:{network}", "--data", f"{here}:loaders", "--target", target),
            *("--budget", budget, "--seed", str(seed), "--out", folder, "--json", *flags),
        ]
        start, written = time.monotonic(), Path(made).with_suffix(".json")
        with written.open("wb") as printed:
            process = subprocess.Popen(
                [sys.executable, *program, "search", *words],
                stdout=printed,
                env=os.environ | {SEED: str(seed), "PYTHONPATH": os.pathsep.join(sys.path)},
            )
            _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds, text = time.monotonic() - start, written.read_text()
        written.unlink()
        if process.returncode:
            raise SystemExit(process.returncode)
    found = json.loads(text)
    shares = {
        name: found["compressed"][name] / found["dense"][name]
        for name in ("predicted_seconds", "measured_seconds")
        if found["dense"].get(name) and found["compressed"].get(name)
    }
    return {
        **shares,
        "dense": 100 * found["dense"]["score"],
        "accuracy": 100 * found["compressed"]["score"],
        "trials": found["trials"],
        "seconds": seconds,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "gigabytes": used.ru_maxrss / 2**20,
    }


def main() -> None:
    """Print one line a search, then means over seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=["resnet56", "resnet32", "resnet20"])
    parser.add_argument("--target", default="cpu")
    parser.add_argument("--budgets", nargs="+", default=["70%MACs", "50%MACs", "30%MACs"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options, flags = parser.parse_known_args()
    for network in options.networks:
        for budget in options.budgets:
            rows = [search(network, options.target, budget, seed, flags) for seed in options.seeds]
            for seed, row in zip(options.seeds, rows, strict=True):
                print(f"{network} {budget} seed {seed}: {described(row)}", flush=True)
            means = {key: mean(row[key] for row in rows) for key in rows[0]}
            print(f"{network} {budget} mean of {len(rows)}: {described(means)}", flush=True)


def described(row: dict[str, float]) -> str:
    """One line."""
    words = (("predicted_seconds", "predicted"), ("measured_seconds", "measured"))
    shares = "".join(f"{word} x {row[key]:.3f}, " for key, word in words if key in row)
    return (
        f"{row['accuracy']:.2f} of {row['dense']:.2f}, lost {row['dense'] - row['accuracy']:.2f}, "
        f"{shares}{row['trials']:.0f} trials, {row['seconds']:.0f} s, "
        f"{row['cpu_seconds']:.0f} CPU s, {row['gigabytes']:.2f} GB"
    )


if __name__ == "__main__":
    main()
