"""Peak memory and time of statistics, elimination and refit against images and pixels.

Each row is a process of its own: a ResNet-50 of drawn weights (our own definition, batch norms
folded) or EfficientNet-Lite2 of `efficientnet_lite.py`, on drawn pictures of 8 bits, held as their
codes; every group ranked as for sixteen counts and cut to half of its channels, one refit. Peak
resident memory is the kernel's (`getrusage`), of the whole process: interpreter, torch, images and
models are in it, what a search imports beside is not. Beside it stands what was had anew from the
system, page by page (minor faults), in gigabytes. Rows are appended to build/memory/rows.jsonl;
those that are there are not run again.

    python tests/benchmarks/bench_memory.py --images 100 300 1000 --pixels 224
    python tests/benchmarks/bench_memory.py --images 300 --pixels 96 160 224 320
    python tests/benchmarks/bench_memory.py --table      # of the rows that are there
    python tests/benchmarks/bench_memory.py --plot docs/memory.svg
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
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from automl.compression.compressor import Compressor
from automl.compression.config import CompressionConfig
from automl.compression.memory import image_bytes, room
from automl.network.traced_model import trace_network
from automl.policy.policy import Policy
from automl.userdata.inputs import Inputs, coded

ROWS = Path("build/memory/rows.jsonl")
#: What makes a row another one.
KEY = ("network", "images", "pixels", "memory", "groups")


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
    counts = {
        group.name: tuple(range(step, group.channels + 1, step))
        for group in traced.network.groups[:groups]
        for step in [max(group.partition, group.channels // 16)]
    }
    inputs = pictures(images, pixels)
    before = peak_megabytes()
    left = room(memory, traced.model, inputs.nbytes, image_bytes(traced.trace))
    config, stamps, had = CompressionConfig(memory=left), [time.process_time()], [had_anew()]
    compressor = Compressor(traced, inputs, counts, config=config)
    stamps.append(time.process_time())
    had.append(had_anew())
    statistics = peak_megabytes()
    compressor.make(Policy({name: each[(len(each) - 1) // 2] for name, each in counts.items()}))
    stamps.append(time.process_time())
    had.append(had_anew())
    return {
        "images": images,
        "pixels": pixels,
        "before_mb": before,
        "statistics_mb": statistics,
        "statistics_s": round(stamps[1] - stamps[0], 1),
        "statistics_gb": round(had[1] - had[0], 1),
        "refit_mb": peak_megabytes(),
        "refit_s": round(stamps[2] - stamps[1], 1),
        "refit_gb": round(had[2] - had[1], 1),
    }


def pictures(count: int, pixels: int) -> Inputs:
    """Drawn pictures of 8 bits, scaled, ten at a time."""
    drawn = torch.Generator().manual_seed(0)
    batches = []
    for first in range(0, count, 10):
        shape = (min(10, count - first), 3, pixels, pixels)
        levels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=drawn)
        batches.append(coded((levels.float() - 127) / 128))
    return Inputs(batches)


def peak_megabytes() -> float:
    """Most memory that this process was resident with, in decimal megabytes."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)


def had_anew() -> float:
    """Gigabytes of pages that this process has had from the system so far, those again too."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt * resource.getpagesize() / 1e9


def main(arguments: Sequence[str] | None = None) -> None:
    """Run each row in a child process, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=NETWORKS, default="resnet50")
    parser.add_argument("--images", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--pixels", type=int, nargs="+", default=[224])
    parser.add_argument("--memory", type=float, default=2e9, help="limit in bytes")
    parser.add_argument("--groups", type=int, default=1 << 30, help="groups that are cut")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--table", action="store_true", help="print the rows that are there")
    parser.add_argument("--plot", type=Path, help="draw the rows that are there into this SVG")
    chosen = parser.parse_args(arguments)
    if chosen.plot:
        chosen.plot.write_text(drawing(stored()))
        return
    if chosen.child:
        row = measured(
            chosen.network, chosen.images[0], chosen.pixels[0], int(chosen.memory), chosen.groups
        )
        print(json.dumps(row))
        return
    done = {tuple(row[name] for name in KEY) for row in stored()}
    for images, pixels in [] if chosen.table else product(chosen.images, chosen.pixels):
        asked = (chosen.network, images, pixels, int(chosen.memory), chosen.groups)
        if asked not in done:
            append(dict(zip(KEY, asked, strict=True)))
    print("| network | images | pixels | before | statistics | | | refit | | |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for row in stored():
        walk, refit = anew(row, "statistics"), anew(row, "refit")
        print(
            f"| {row['network']} | {row['images']:,} | {row['pixels']} | {row['before_mb']:.0f} MB"
            f" | {row['statistics_mb']:.0f} MB | {row['statistics_s']} s | {walk}"
            f" | {row['refit_mb']:.0f} MB | {row['refit_s']} s | {refit} |"
        )


def anew(row: dict[str, Any], part: str) -> str:
    """What a part had from the system; rows from before it was counted do not say."""
    found = row.get(f"{part}_gb")
    return "" if found is None else f"{found} GB"


def stored() -> list[dict[str, Any]]:
    """The rows that are there."""
    return [json.loads(line) for line in ROWS.read_text().splitlines()] if ROWS.exists() else []


def append(asked: dict[str, Any]) -> None:
    """Run a row in a process of its own, and keep it."""
    words = [sys.executable, str(Path(__file__)), "--child"]
    for name, value in asked.items():
        words += [f"--{name}", str(value)]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    ROWS.parent.mkdir(parents=True, exist_ok=True)
    with ROWS.open("a") as file:
        file.write(json.dumps({**asked, **json.loads(said.splitlines()[-1])}) + "\n")


def drawing(rows: list[dict[str, Any]]) -> str:
    """Peak memory and CPU time against images (at 224 pixels) and pixels (of 300 images)."""
    panels = []
    for place, (axis, held, value) in enumerate(
        (("images", "pixels", 224), ("pixels", "images", 300))
    ):
        for line, (title, figure) in enumerate(
            (
                ("peak memory, MB", lambda row: max(row["statistics_mb"], row["refit_mb"])),
                ("CPU time, s", lambda row: row["statistics_s"] + row["refit_s"]),
            )
        ):
            points = {
                network: sorted(
                    (row[axis], figure(row))
                    for row in rows
                    if row["network"] == network and row[held] == value
                )
                for network in NETWORKS
            }
            panels.append(panel(f"{title} against {axis}", points, 380 * place, 240 * line))
    body = "\n".join(panels)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 480" font-size="12"'
        f' font-family="sans-serif"><rect width="760" height="480" fill="white"/>\n{body}\n</svg>\n'
    )


def panel(title: str, points: dict[str, list[tuple[float, float]]], x: int, y: int) -> str:
    """One diagram, both axes from zero."""
    every = [point for each in points.values() for point in each]
    right = max((across for across, _ in every), default=1)
    top = max((up for _, up in every), default=1)
    parts = [f'<text x="{x + 50}" y="{y + 20}">{title}</text>']
    parts.append(f'<path d="M{x + 50},{y + 40}v160h300" fill="none" stroke="black"/>')
    parts.append(f'<text x="{x + 46}" y="{y + 46}" text-anchor="end">{top:.0f}</text>')
    parts.append(f'<text x="{x + 350}" y="{y + 216}" text-anchor="end">{right:.0f}</text>')
    for colour, (network, line) in zip(("#1f5fbf", "#c0392b"), points.items(), strict=True):
        at = [(x + 50 + 300 * p / right, y + 200 - 160 * q / top) for p, q in line]
        path = " ".join(f"{p:.1f},{q:.1f}" for p, q in at)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}"/>')
        parts += [f'<circle cx="{p:.1f}" cy="{q:.1f}" r="3" fill="{colour}"/>' for p, q in at]
        if at:
            parts.append(
                f'<text x="{at[-1][0]:.1f}" y="{at[-1][1] - 8:.1f}" text-anchor="end"'
                f' fill="{colour}">{network}</text>'
            )
    return "\n".join(parts)


if __name__ == "__main__":
    main()
