"""Peak memory and time of statistics, elimination and refit against images and pixels.

Each row is a process of its own: a ResNet-50 of drawn weights (or EfficientNet-Lite2 of
`efficientnet_lite.py`) on drawn images, every group at half of its channels, one refit. Peak
resident memory is the kernel's (`getrusage`), of the whole process: interpreter, torch, images and
models are in it.

    python tests/benchmarks/bench_memory.py --images 100 300 1000 --pixels 224 --memory 2GB
    python tests/benchmarks/bench_memory.py --images 300 --pixels 96 160 224 320
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from automl.compression.compressor import Compressor
from automl.compression.config import CompressionConfig
from automl.network.traced_model import trace_network
from automl.policy.policy import Policy


class Bottleneck(nn.Module):
    """A block of ResNet-50, its batch norms folded."""

    def __init__(self, read: int, inner: int, stride: int) -> None:
        super().__init__()
        write = 4 * inner
        self.reduce = nn.Conv2d(read, inner, 1)
        self.spatial = nn.Conv2d(inner, inner, 3, stride, 1)
        self.expand = nn.Conv2d(inner, write, 1)
        self.shortcut = nn.Identity() if read == write else nn.Conv2d(read, write, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        found = self.expand(F.relu(self.spatial(F.relu(self.reduce(x)))))
        return F.relu(found + self.shortcut(x))


class ResNet50(nn.Module):
    """ResNet-50 (He et al. 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 7, 2, 3)
        blocks: list[nn.Module] = []
        read = 64
        for stage, (count, inner) in enumerate(zip((3, 4, 6, 3), (64, 128, 256, 512), strict=True)):
            for block in range(count):
                stride = 2 if stage and not block else 1
                blocks.append(Bottleneck(read, inner, stride))
                read = 4 * inner
        self.blocks, self.head = nn.Sequential(*blocks), nn.Linear(read, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.stem(x)), 3, 2, 1)
        logits: Tensor = self.head(self.blocks(x).mean((2, 3)))
        return logits


def efficientnet_lite2() -> nn.Module:
    """With its weights, as `efficientnet_lite.py` installs them."""
    from efficientnet_lite import lite2

    model: nn.Module = lite2()
    return model


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet50": ResNet50,
    "efficientnet-lite2": efficientnet_lite2,
}


def measured(network: str, images: int, pixels: int, memory: int, groups: int) -> dict[str, float]:
    """Seconds and megabytes of one run, in this process."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    traced = trace_network(NETWORKS[network]().eval(), (1, 3, pixels, pixels), resolutions=())
    halves = {
        group.name: (max(group.partition, group.channels // 2),)
        for group in traced.network.groups[:groups]
    }
    inputs = torch.empty(images, 3, pixels, pixels).normal_()
    before = peak_megabytes()
    config, stamps = CompressionConfig(memory=memory), [time.process_time()]
    compressor = Compressor(traced, inputs, halves, config=config)
    stamps.append(time.process_time())
    statistics = peak_megabytes()
    compressor.make(Policy({name: count for name, (count,) in halves.items()}))
    stamps.append(time.process_time())
    return {
        "images": images,
        "pixels": pixels,
        "before_mb": before,
        "statistics_mb": statistics,
        "statistics_s": round(stamps[1] - stamps[0], 1),
        "refit_mb": peak_megabytes(),
        "refit_s": round(stamps[2] - stamps[1], 1),
    }


def peak_megabytes() -> float:
    """Most memory that this process was resident with, in decimal megabytes."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run each row in a child process, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=NETWORKS, default="resnet50")
    parser.add_argument("--images", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--pixels", type=int, nargs="+", default=[224])
    parser.add_argument("--memory", type=float, default=2e9, help="limit in bytes")
    parser.add_argument("--groups", type=int, default=1 << 30, help="groups that are cut")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.child:
        row = measured(
            chosen.network, chosen.images[0], chosen.pixels[0], int(chosen.memory), chosen.groups
        )
        print(json.dumps(row))
        return
    print("| images | pixels | before | statistics | | refit | |\n|---|---|---|---|---|---|---|")
    for images, pixels in product(chosen.images, chosen.pixels):
        words = [sys.executable, str(Path(__file__)), "--child", "--network", chosen.network]
        words += ["--images", str(images), "--pixels", str(pixels), "--memory", str(chosen.memory)]
        words += ["--groups", str(chosen.groups)]
        said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        row = json.loads(said.splitlines()[-1])
        print(
            f"| {images:,} | {pixels} | {row['before_mb']:.0f} MB | {row['statistics_mb']:.0f} MB |"
            f" {row['statistics_s']} s | {row['refit_mb']:.0f} MB | {row['refit_s']} s |",
            flush=True,
        )


if __name__ == "__main__":
    main()
