"""Networks as ONNX models beside the keys of their operators, dense and randomly thinned.

Built node by node, batch norms folded, so that keys and model cannot disagree about shapes.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from automl.latency.keys import OpKey
from automl.profiling.graphs import Graph


@dataclass(frozen=True)
class BuiltNetwork:
    """A model and the operators that it should be the sum of."""

    name: str
    model: bytes
    keys: tuple[OpKey, ...]


@dataclass
class Thinning:
    """How a network is thinned: widths in multiples of `unit`, blocks kept with a probability.

    Without a generator nothing is thinned.
    """

    generator: random.Random | None = None
    unit: int = 16
    keep: float = 1.0

    def width(self, dense: int, least: int = 0) -> int:
        """A width up to the dense one."""
        if self.generator is None:
            return dense
        return self.generator.choice(range(max(self.unit, least), dense + 1, self.unit))

    def keeps(self) -> bool:
        """Whether a removable block stays."""
        return self.generator is None or self.generator.random() < self.keep


@dataclass
class Builder:
    """A graph that notes the key of every operator that it adds."""

    graph: Graph = field(default_factory=Graph)
    keys: list[OpKey] = field(default_factory=list)

    def conv(
        self,
        data: str,
        channels: tuple[int, int],
        size: int,
        kernel: int = 3,
        stride: int = 1,
        *,
        depthwise: bool = False,
        relu: bool = True,
    ) -> str:
        """A convolution of a square map with "same" padding."""
        groups = channels[0] if depthwise else 1
        pad, out = kernel // 2, (size - 1) // stride + 1
        self.keys.append(
            OpKey(
                "depthwise_conv2d" if depthwise else "conv2d",
                *channels,
                (kernel, kernel),
                (stride, stride),
                (pad, pad),
                (1, 1),
                groups,
                (size, size),
                (out, out),
            )
        )
        found = self.graph.conv(
            data, *channels, (kernel, kernel), groups=groups, strides=(stride,) * 2, pads=(pad,) * 4
        )
        return self.graph.relu(found) if relu else found

    def map_op(
        self,
        op: str,
        node: str,
        inputs: tuple[str, ...],
        channels: int,
        size: int,
        detail: str = "",
    ) -> str:
        """An operator that keeps the shape of a map."""
        shape = (size, size)
        self.keys.append(
            OpKey(op, channels, channels, in_size=shape, out_size=shape, detail=detail)
        )
        attributes = {"Concat": {"axis": 1}, "HardSigmoid": {"alpha": 1 / 6, "beta": 0.5}}
        return self.graph.node(node, *inputs, **attributes.get(node, {}))

    def pool(self, op: str, node: str, data: str, channels: int, size: int) -> str:
        """A pool of two by two."""
        half = size // 2
        sizes = {"in_size": (size, size), "out_size": (half, half)}
        self.keys.append(OpKey(op, channels, channels, (2, 2), (2, 2), **sizes))
        return self.graph.node(node, data, kernel_shape=(2, 2), strides=(2, 2))

    def global_pool(self, data: str, channels: int, size: int) -> str:
        """The mean over a map."""
        self.keys.append(OpKey("global_avg_pool", channels, channels, in_size=(size, size)))
        return self.graph.node("GlobalAveragePool", data)

    def finish(self, name: str, data: str, channels: int, size: int) -> BuiltNetwork:
        """Pool, classify, and close the model."""
        graph = self.graph
        flat = graph.node("Flatten", self.global_pool(data, channels, size))
        self.keys.append(OpKey("linear", channels, 10))
        weight = graph.weight(10, channels, fan_in=channels)
        scores = graph.node("Gemm", flat, weight, graph.weight(10), transB=1)
        return BuiltNetwork(name, graph.serialise(scores), tuple(self.keys))


def resnet56(name: str, thin: Thinning, inner: Callable[[int], int] | None = None) -> BuiltNetwork:
    """ResNet-56 of He et al. (2015) for 32x32, shortcuts of option A; inner widths vary."""
    net, graph_size = Builder(), 32
    data = net.conv(net.graph.input(1, 3, 32, 32), (3, 16), graph_size)
    before = 16
    for channels in (16, 32, 64):
        for block in range(9):
            stride = 2 if channels != before and block == 0 else 1
            if stride == 1 and not thin.keeps():
                continue
            width = inner(channels) if inner else thin.width(channels)
            out = graph_size // stride
            shortcut = data
            if stride == 2:
                shortcut = _option_a(net.graph, data, graph_size, channels - before)
            data = net.conv(data, (before, width), graph_size, stride=stride)
            data = net.conv(data, (width, channels), out, relu=False)
            data = net.graph.relu(net.map_op("add", "Add", (data, shortcut), channels, out))
            graph_size, before = out, channels
    return net.finish(name, data, before, graph_size)


def _option_a(graph: Graph, data: str, size: int, more: int) -> str:
    ends, starts = graph.integers(size, size), graph.integers(0, 0)
    axes, steps = graph.integers(2, 3), graph.integers(2, 2)
    sliced = graph.node("Slice", data, starts, ends, axes, steps)
    return graph.node("Pad", sliced, graph.integers(0, more // 2, 0, 0, 0, more // 2, 0, 0))


def mobilenet(name: str, thin: Thinning) -> BuiltNetwork:
    """Inverted residuals with squeeze-excite at 64x64, expansions thinned."""
    net, size, before = Builder(), 32, 16
    data = net.conv(net.graph.input(1, 3, 64, 64), (3, 16), 64, stride=2)
    for channels, blocks, first_stride in ((16, 2, 1), (24, 2, 2), (32, 3, 2), (64, 3, 2)):
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            if block and not thin.keeps():
                continue
            wide = thin.width(before * 4)
            out = size // stride
            shortcut = data
            data = net.conv(data, (before, wide), size, 1)
            data = net.conv(data, (wide, wide), size, 3, stride, depthwise=True)
            data = _squeeze_excite(net, data, wide, out)
            data = net.conv(data, (wide, channels), out, 1, relu=False)
            if block:
                data = net.map_op("add", "Add", (data, shortcut), channels, out)
            size, before = out, channels
    data = net.conv(data, (before, 256), size, 1)
    return net.finish(name, data, 256, size)


def _squeeze_excite(net: Builder, data: str, channels: int, size: int) -> str:
    narrow = max(8, channels // 32 * 8)
    gate = net.conv(net.global_pool(data, channels, size), (channels, narrow), 1, 1)
    gate = net.conv(gate, (narrow, channels), 1, 1, relu=False)
    gate = net.map_op("activation", "HardSigmoid", (gate,), channels, 1, "hardsigmoid")
    return net.map_op("mul", "Mul", (data, gate), channels, size, "channel")


def vgg(name: str, thin: Thinning) -> BuiltNetwork:
    """A plain chain with max pools at 32x32, every width thinned."""
    net, size, before = Builder(), 32, 3
    data = net.graph.input(1, 3, 32, 32)
    for channels in (64, 128, 256, 256):
        for _ in range(2):
            width = thin.width(channels, least=2 * thin.unit)
            data = net.conv(data, (before, width), size)
            before = width
        data = net.pool("max_pool", "MaxPool", data, before, size)
        size //= 2
    return net.finish(name, data, before, size)


def densenet(name: str, thin: Thinning) -> BuiltNetwork:
    """Bottlenecked dense blocks at 32x32, bottlenecks and growth thinned."""
    net, size, channels = Builder(), 32, 32
    data = net.conv(net.graph.input(1, 3, 32, 32), (3, 32), size)
    for stage in range(3):
        for _ in range(5):
            if not thin.keeps():
                continue
            middle, growth = thin.width(64), thin.width(16)
            branch = net.conv(data, (channels, middle), size, 1)
            branch = net.conv(branch, (middle, growth), size)
            channels += growth
            data = net.map_op("concat", "Concat", (data, branch), channels, size, "2")
        half = channels // 32 * 16
        data = net.conv(data, (channels, half), size, 1)
        channels = half
        if stage < 2:
            data = net.pool("avg_pool", "AveragePool", data, channels, size)
            size //= 2
    return net.finish(name, data, channels, size)


FAMILIES: dict[str, Callable[[str, Thinning], BuiltNetwork]] = {
    "resnet56": resnet56,
    "mobilenet": mobilenet,
    "vgg": vgg,
    "densenet": densenet,
}


def family(kind: str, count: int, seed: int, eights: float = 0.25) -> list[BuiltNetwork]:
    """The dense network and `count` random ones, a share of them in multiples of eight."""
    build = FAMILIES[kind]
    networks = [build(f"{kind} dense", Thinning())]
    for index in range(count):
        generator = random.Random(f"{kind} {seed} {index}")
        unit = 8 if generator.random() < eights else 16
        name = f"{kind} {index} (unit {unit})"
        networks.append(build(name, Thinning(generator, unit, generator.uniform(0.6, 1.0))))
    return networks
