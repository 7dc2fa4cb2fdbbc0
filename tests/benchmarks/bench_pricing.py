"""How many policies of ResNet-50's graph are priced in a second, on one core.

Run: python tests/benchmarks/bench_pricing.py
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

import numpy as np

from automl.cost import build_cost_model, required_keys
from automl.latency.keys import OpKey, Timings
from automl.network.layers import Block, ChannelGroup, Layer, LayerPlan, Network, Width
from automl.space import Space, build_space

STAGES = ((3, 64, 56), (4, 128, 28), (6, 256, 14), (3, 512, 7))


class FormulaPricer:
    """Prices by a formula, so that the benchmark needs no device: this is not a latency."""

    def lookup(self, keys: Sequence[OpKey]) -> Timings:
        seconds = np.array([1e-9 + key.macs * 1e-11 for key in keys])
        return Timings(seconds, np.zeros(len(keys)), np.full(len(keys), 2, dtype=np.int8))


class Builder:
    """Collects the plans and groups of a network, layer by layer."""

    def __init__(self) -> None:
        self.plans: list[LayerPlan] = []
        self.groups: list[ChannelGroup] = []

    def group(self, name: str, channels: int) -> Width:
        self.groups.append(ChannelGroup(name, channels, (), ()))
        return Width(0, ((name, 1),))

    def layer(
        self,
        name: str,
        op: str,
        read: Width,
        written: Width,
        size: int,
        block: str,
        kernel: int = 1,
    ) -> None:
        dense = {group.name: group.channels for group in self.groups}
        hw = (size, size)
        layer = Layer(
            name,
            op,
            read.at(dense),
            written.at(dense),
            (kernel, kernel),
            padding=(kernel // 2, kernel // 2),
            in_size=hw,
            out_size=hw,
        )
        self.plans.append(LayerPlan(layer, read, written, ((hw, hw),), block))


def resnet50() -> Network:
    """ResNet-50 at 224 x 224: all 37 groups, 12 removable blocks, convolutions, adds, pools."""
    build = Builder()
    blocks: list[Block] = []
    trunk = build.group("stem", 64)
    build.layer("stem", "conv2d", Width(3), trunk, 112, "", 7)
    build.layer("pool", "max_pool", trunk, trunk, 56, "")
    for stage, (depth, width, size) in enumerate(STAGES):
        before, trunk = trunk, build.group(f"stage{stage}", 4 * width)
        build.layer(f"stage{stage}.shortcut", "conv2d", before, trunk, size, "")
        for index in range(depth):
            name = f"stage{stage}.{index}"
            block = name if index else ""
            first, second = build.group(f"{name}.a", width), build.group(f"{name}.b", width)
            source = trunk if index else before
            build.layer(f"{name}.conv1", "conv2d", source, first, size, block)
            build.layer(f"{name}.conv2", "conv2d", first, second, size, block, 3)
            build.layer(f"{name}.conv3", "conv2d", second, trunk, size, block)
            build.layer(f"{name}.add", "add", trunk, trunk, size, block)
            if index:
                layers = tuple(f"{name}.{part}" for part in ("conv1", "conv2", "conv3", "add"))
                blocks.append(Block(name, layers, (f"{name}.a", f"{name}.b")))
    build.layer("gap", "global_avg_pool", trunk, trunk, 7, "")
    build.layer("fc", "linear", trunk, Width(1000), 1, "")
    return Network(tuple(build.plans), tuple(build.groups), tuple(blocks), (1, 3, 224, 224), (224,))


def eighths(network: Network) -> Space:
    """Eight levels a group."""
    return build_space(network, round_to={g.name: g.channels // 8 for g in network.groups})


def main() -> None:
    network = resnet50()
    space = eighths(network)
    started = time.perf_counter()
    costs = build_cost_model(network, space, FormulaPricer())
    built = time.perf_counter() - started
    factors, whole = costs.factors()
    print(
        f"ResNet-50: {len(network.plans)} layers, {len(space.variables)} variables,"
        f" {len(required_keys(network, space))} operators, {len(factors)} factors"
        f" ({'all' if whole else 'not all'} of the cost), built in {built:.2f} s"
    )
    generator = np.random.default_rng(0)
    for count in (1, 100, 10_000, 100_000):
        vectors = space.random(count, generator)
        seconds = []
        for _ in range(5 if count > 1000 else 50):
            started = time.perf_counter()
            costs.price(vectors)
            seconds.append(time.perf_counter() - started)
        each = median(seconds)
        print(f"{count:>7,} policies: {each * 1e3:8.2f} ms, {count / each:12,.0f} a second")
    policy = space.decode(vectors[0])
    started = time.perf_counter()
    costs.cost(policy)
    print(f"one policy with its sources: {(time.perf_counter() - started) * 1e3:.2f} ms")


if __name__ == "__main__":
    main()
