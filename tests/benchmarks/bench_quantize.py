"""Bits without training: ResNet-20 and ResNet-56 on CIFAR-10, all 10,000 test images.

Uniform 8 bits in both forms against float; mixed weights (4 or 8 bits, and any of 4 to 8) against
uniform 6 bits of the same size, with float activations (codebooks) and with 8-bit ones (integers).
The layers' bits are the solver's, for the sensitivity of each measured on 16 calibration images and
the packed file's size. A seed draws the calibration images from the training set. Choices and the
ablation look at training images that calibration does not hold: their logits' mean squared
difference to the float network's, relative to their variance.

    python tests/benchmarks/bench_quantize.py --shared ../shared --out bits.jsonl
    python tests/benchmarks/bench_quantize.py --shared ../shared --ablation

Figures are appended as they are found; what the file holds is not done again; `--table` prints
them.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from cifar import Cifar, accuracy, load_cifar, load_resnet, normalised
from torch import nn

from automl.agents.registry import make_agent
from automl.compression.compressor import Compressor
from automl.compression.config import CompressionConfig
from automl.compression.reconstruction.base import RefitSettings
from automl.compression.sensitivity import measure_sensitivity
from automl.cost import Budget, Limit, build_cost_model
from automl.network.precision import Flow
from automl.network.traced_model import trace_network
from automl.policy.policy import Bits, Policy
from automl.space import Space, build_space
from automl.study.problem import Problem

SHAPE = (1, 3, 32, 32)
#: Of the finishing walk.
SETTINGS = RefitSettings(images=512, rows=12_000)
CALIBRATION, HELD_OUT = 1024, 512


class Bench:
    """One network and one draw of calibration images."""

    def __init__(self, data: Cifar, model: nn.Module, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randperm(len(data.train), generator=generator)[: CALIBRATION + HELD_OUT]
        self.traced = trace_network(model, SHAPE, resolutions=())
        self.layers = Flow(self.traced.trace).layers
        self.held_out = normalised(data.train[drawn[CALIBRATION:]])
        images = normalised(data.train[drawn[:CALIBRATION]])
        self.images, self.seed = images, seed
        self.compressor = self.maker()

    def maker(self, quantization: str = "second-order") -> Compressor:
        """What makes networks with a quantizer."""
        config = CompressionConfig(quantization=quantization, seed=self.seed)
        return Compressor(self.traced, self.images, {}, config=config)

    def uniform(self, bits: Bits) -> Policy:
        """The same bits everywhere."""
        return Policy(bits=dict.fromkeys(self.layers, bits))

    def make(
        self, policy: Policy, scheme: str | None, settings: RefitSettings = SETTINGS
    ) -> nn.Module:
        """The finished network, in a target's form."""
        self.compressor.scheme = scheme
        return self.compressor.make(policy, settings=settings)

    @cached_property
    def _dense(self) -> torch.Tensor:
        with torch.no_grad():
            logits: torch.Tensor = self.traced.model(self.held_out)
        return logits

    @torch.no_grad()
    def error(self, model: nn.Module) -> float:
        """Mean squared difference of held-out logits, relative to their variance."""
        difference = (model(self.held_out) - self._dense).square().mean()
        return float(difference / self._dense.var(0).mean())

    def space(self, weights: tuple[int, ...], activations: int) -> Space:
        """These bits for the weights of every layer, and nothing else to choose."""
        if activations == 32:
            whole = build_space(self.traced.network, depth=False, weight_only=weights)
        else:
            bits = [Bits(each, activations) for each in weights]
            whole = build_space(self.traced.network, depth=False, precisions=bits)
        return Space(tuple(each for each in whole.variables if each.kind == "bits"))

    def size(self, policy: Policy, activations: int) -> float:
        """Bytes of the packed file."""
        space = self.space((4, 5, 6, 7, 8), activations)
        return build_cost_model(self.traced.network, space, None).cost(policy).bytes

    def mixed(
        self, weights: tuple[int, ...], activations: int, limit: float, scheme: str | None
    ) -> Policy:
        """The solver's choice among these bits for the weights, of no more than so many bytes."""
        space = self.space(weights, activations)
        self.compressor.joint.scheme = scheme
        sensitivity = measure_sensitivity(
            self.compressor.database,
            space,
            self.compressor.images[:16],
            rounded=self.compressor.joint,
        )
        costs = build_cost_model(self.traced.network, space, None)
        problem = Problem(space, costs, Budget((Limit("bytes", limit),)), sensitivity)
        chosen = make_agent("lagrangian", problem, 0).ask(1)[0]
        bits = dict.fromkeys(self.layers, Bits(8, activations))  # the finest, not float
        return Policy(bits={**bits, **chosen.bits})


def candidates(bench: Bench) -> Iterator[tuple[str, Callable[[], Policy], str | None, int]]:
    """Name, policy (made when asked for), form and activation bits of each network to judge."""
    for signed in ("qdq-u8s8", "qdq-s8s8"):
        yield f"w8a8, {signed[4:]}", partial(bench.uniform, Bits(8, 8)), signed, 8
    for activations, kind in ((32, "weights alone"), (8, "activations 8")):
        scheme = "qdq-u8s8" if activations == 8 else None  # a codebook has none
        uniform = bench.uniform(Bits(6, activations))
        yield (
            f"uniform 6, {kind}",
            partial(bench.uniform, Bits(6, activations)),
            scheme,
            activations,
        )
        limit = bench.size(uniform, activations)
        for name, weights in (("4/8", (4, 8)), ("4 to 8", (4, 5, 6, 7, 8))):
            chosen = partial(bench.mixed, weights, activations, limit, scheme)
            yield f"mixed {name}, {kind}", chosen, scheme, activations


def run(
    data: Cifar, depths: list[int], seeds: list[int], only: str, shared: Path, out: Path
) -> None:
    """Judge what the file does not hold yet."""
    done = {(row["depth"], row["seed"], row["name"]) for row in read(out)}

    def keep(depth: int, seed: int, name: str, **metrics: float) -> None:
        row = {"depth": depth, "seed": seed, "name": name, **metrics}
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)

    for seed in seeds:
        for depth in depths:
            model = load_resnet(shared, depth)
            if (depth, 0, "float") not in done and seed == seeds[0]:
                keep(depth, 0, "float", accuracy=accuracy(model, data.test, data.test_labels))
            bench = Bench(data, model, seed)
            for name, choose, scheme, activations in candidates(bench):
                if (depth, seed, name) in done or only not in name:
                    continue
                start = time.process_time()
                policy = choose()
                made = bench.make(policy, scheme)
                seconds = time.process_time() - start
                metrics = {
                    "bytes": bench.size(policy, activations),
                    "error": bench.error(made),
                    "seconds": seconds,
                    "accuracy": accuracy(made, data.test, data.test_labels),
                }
                keep(depth, seed, name, **metrics)


def ablation(bench: Bench) -> None:
    """Errors of held-out logits with and without each part."""
    cases = (
        ("nearest", 0, "nearest:correct_bias=false"),
        ("nearest, bias", 0, "nearest"),
        ("second order", 0, "second-order:correct_bias=false"),
        ("second order, bias", 0, "second-order"),
        ("nearest, bias, refit", 3, "nearest"),
        ("second order, bias, refit", 3, "second-order"),
        ("the same, percentile ranges", 3, "second-order:ranges=percentile"),
        ("the same, full ranges", 3, "second-order:ranges=max"),
    )
    makers = {text: bench.maker(text) for text in dict.fromkeys(case[2] for case in cases)}
    settings = replace(SETTINGS, images=256, rows=8_000)
    for bits, scheme in ((Bits(8, 8), "qdq-u8s8"), (Bits(4, 8), "qdq-u8s8"), (Bits(4, 4), None)):
        for name, rounds, quantization in cases:
            bench.compressor = makers[quantization]
            made = bench.make(bench.uniform(bits), scheme, replace(settings, rounds=rounds))
            print(f"| w{bits.weights}a{bits.activations} | {name} | {bench.error(made):.5f} |")


def read(out: Path) -> list[dict[str, Any]]:
    """Rows found before."""
    if not out.exists():
        return []
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def table(rows: list[dict[str, Any]]) -> None:
    """Print the figures as Markdown."""
    print("| network | bits | seeds | accuracy | spread | drop | packed size | logit error |")
    print("|---|---|---|---|---|---|---|---|")
    float_ = {row["depth"]: row["accuracy"] for row in rows if row["name"] == "float"}
    for depth, name in dict.fromkeys((row["depth"], row["name"]) for row in rows):
        these = [row for row in rows if (row["depth"], row["name"]) == (depth, name)]
        found = [row["accuracy"] for row in these]
        if name == "float":
            print(f"| ResNet-{depth} | float | | {found[0]:.2f} | | | | |")
            continue
        spread = f"{stdev(found):.2f}" if len(found) > 1 else ""
        size, error = (mean(row[key] for row in these) for key in ("bytes", "error"))
        print(
            f"| ResNet-{depth} | {name} | {len(found)} | {mean(found):.2f} | {spread} "
            f"| {float_[depth] - mean(found):+.2f} | {size / 1e3:.1f} kB | {error:.5f} |"
        )


def main() -> None:
    """Run, or print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--out", type=Path, default=Path("bits.jsonl"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--depths", type=int, nargs="+", default=[20, 56])
    parser.add_argument("--only", default="", help="a part of the names of what is wanted")
    parser.add_argument("--ablation", action="store_true")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.table:
        table(read(options.out))
        return
    data = load_cifar(options.shared)
    if options.ablation:
        ablation(Bench(data, load_resnet(options.shared, options.depths[0]), options.seeds[0]))
        return
    run(data, options.depths, options.seeds, options.only, options.shared, options.out)


if __name__ == "__main__":
    main()
