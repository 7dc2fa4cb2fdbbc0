"""What passes over images take as inputs lie in memory, and as freed memory is kept: interleaved.

    python tests/benchmarks/bench_passes.py [--networks lite1] [--rounds 5]

Milliseconds an image of a network made ready for a search (batch norms folded), in the batches that
a search shows. *Before*: channels first, and glibc as it is by itself (blocks of 32 MB and more
go back when they are freed, and what is free at the heap's end beyond 64 MB). Lite1 is had as
efficientnet_lite.py says.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import time
from collections.abc import Callable
from itertools import product

import torch
from cifar import SHARED, load_cifar, load_resnet, normalised
from efficientnet_lite import lite1, lite1_loaders
from torch import Tensor, nn

from automl.heap import reuse_freed
from automl.network import forget_layout, laid_out, trace_network
from automl.userdata import fitting

NETWORKS: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "resnet20": lambda: (load_resnet(SHARED, 20), normalised(load_cifar(SHARED).train[:1024])),
    "resnet56": lambda: (load_resnet(SHARED, 56), normalised(load_cifar(SHARED).train[:512])),
    "lite1": lambda: (lite1(), lite1_loaders()[0][0][0][:48]),
}


def by_itself() -> None:
    """What glibc comes to by itself where large blocks are freed."""
    heap = ctypes.CDLL(None)
    heap.mallopt(-3, 32 << 20)
    heap.mallopt(-1, 64 << 20)


def measured(model: nn.Module, images: Tensor) -> float:
    """Milliseconds an image of one pass over all."""
    parts = [laid_out(model, part) for part in images.split(fitting(images))]
    start = time.perf_counter()
    with torch.no_grad():
        for part in parts:
            model(part)
    return 1e3 * (time.perf_counter() - start) / len(images)


def compared(name: str, rounds: int) -> str:
    """A line of the table: medians of the rounds."""
    model, images = NETWORKS[name]()
    last = trace_network(model, (1, *images.shape[1:]), resolutions=()).model
    first = trace_network(model, (1, *images.shape[1:]), resolutions=()).model
    forget_layout(first)
    ways = [*product((by_itself, reuse_freed), (first, last))]
    found: list[list[float]] = [[] for _ in ways]
    for _ in range(rounds + 1):
        for times, (keep, each) in zip(found, ways, strict=True):
            keep()
            times.append(measured(each, images))
    cells = [f"{statistics.median(times[1:]):.2f}" for times in found]  # the first warms up
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Print a line a network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=[*NETWORKS], default=[*NETWORKS])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print("| network | before | channels last | freed memory kept | both |")
    print("|---|---|---|---|---|")
    for name in options.networks:
        print(compared(name, options.rounds), flush=True)


if __name__ == "__main__":
    main()
