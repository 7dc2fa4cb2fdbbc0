"""Which operator of a network a profile's line stands for: by name if names survive, by shape."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from automl.latency import OpKey, op_key
from automl.network import Layer, Network
from automl.profiling.nodes import ProfiledNode, onnx_op, without_endings

#: Operators of modules, whose names are the user's. Names of others are numbers that we gave:
#: our "add_1" is not an ONNX file's "Add_1".
_WEIGHTED: Final = frozenset(("conv2d", "depthwise_conv2d", "conv_transpose2d", "linear", "norm"))
_MAIN: Final = frozenset(("conv2d", "depthwise_conv2d", "conv_transpose2d", "linear", "matmul"))


@dataclass(frozen=True, slots=True)
class RowMatch:
    """A line that stands for an operator.

    Attributes:
        key: The operator.
        followers: Operators computed with it, which have no time of their own.
        merged: How many convolutions of one input run as one; 1 for an ordinary line.
    """

    key: OpKey
    followers: tuple[OpKey, ...] = ()
    merged: int = 1


class Matcher:
    """A network's layers, to be found by what a profile says of them."""

    def __init__(self, network: Network, precision: str) -> None:
        self._layers = network.layers
        self._precision = precision
        self._names = {
            plain_name(layer.name): layer for layer in network.layers if layer.op in _WEIGHTED
        }

    def match(self, node: ProfiledNode) -> RowMatch | str:
        """The operator that a line stands for, or why there is none."""
        if node.aside:
            return node.aside
        precision = node.precision or self._precision
        found = [self._named(branch, node.op) for branch in node.branches]
        if any(len(layers) > 1 for layers in found):
            return "several operators fused: their shares are not told"
        if len(found) > 1:
            return self._merged(node, [layers[0] for layers in found if layers], precision)
        layer = found[0][0] if found[0] else self._shaped(node)
        if isinstance(layer, str):
            return layer
        if node.shape is not None and not node.shape.fits(layer):
            return f"its shape is not that of {layer.name}: another network or resolution?"
        followers = self._followers(node, layer)
        return RowMatch(op_key(layer, precision), tuple(op_key(f, precision) for f in followers))

    def _named(self, parts: Sequence[str], op: str) -> list[Layer]:
        """Layers that the parts name, pointwise followers left out; at most one is wanted."""
        found: dict[str, Layer] = {}
        for part in parts:
            named = (self._names[name] for name in candidates(part) if name in self._names)
            layer = next((layer for layer in named if _agrees(op, layer)), None)
            if layer is not None:
                found[layer.name] = layer
        layers = list(found.values())
        return [layer for layer in layers if layer.op in _MAIN] or layers

    def _shaped(self, node: ProfiledNode) -> Layer | str:
        hints = [onnx_op(part) for part in node.branches[0]] or [""]
        op = node.op or next((hint for hint in hints if hint in _MAIN), hints[0])
        if node.shape is not None:
            fitting = [layer for layer in self._layers if node.shape.fits(layer)]
        elif op:
            fitting = [layer for layer in self._layers if _agrees(op, layer)]
        else:
            return "no operator of the network has its name"
        for near in (fitting, *_in_scope(fitting, node.branches[0])):
            if len({op_key(layer) for layer in near}) == 1:
                return near[0]
        return (
            "several operators could be it" if fitting else "no operator of the network is like it"
        )

    def _merged(self, node: ProfiledNode, layers: list[Layer], precision: str) -> RowMatch | str:
        if len(layers) != len(node.branches):
            return "merged with what the network does not name"
        wide = replace(layers[0], out_channels=sum(layer.out_channels for layer in layers))
        alike = {replace(layer, name="", out_channels=0) for layer in layers}
        if len(alike) > 1 or wide.op != "conv2d" or wide.groups != 1:
            return "merged operators that are not convolutions of one shape"
        if node.shape is not None and not node.shape.fits(wide):
            return "its shape is not that of the merged convolutions: another network?"
        return RowMatch(op_key(wide, precision), merged=len(layers))

    def _followers(self, node: ProfiledNode, main: Layer) -> list[Layer]:
        """Pointwise operators of the network that are computed with `main`."""
        ops = {onnx_op(part) for part in node.branches[0]} | node.fused
        wanted = sorted((ops & {"add", "mul"}) - {main.op})
        found = []
        for op in wanted:
            like = (
                layer
                for layer in self._layers
                if layer.op == op
                and (layer.out_channels, layer.out_size) == (main.out_channels, main.out_size)
            )
            found += [layer for layer in [next(like, None)] if layer is not None]
        return found


def plain_name(name: str) -> str:
    """A name with every separator alike, so that "a/b.c" and "a.b.c" are one."""
    return re.sub(r"[/.:]+", ".", name.strip("/ ")).lower()


def candidates(part: str) -> list[str]:
    """Plain names of the modules that a node's name may stand for, likeliest first.

    PyTorch's exporter writes a module's path as "/layer1/layer1.0/conv1/Conv": a child of a
    sequence repeats its parent's name, and the last word is the ONNX operator.
    """
    words = without_endings(part, ("nchwc", "token#", "quant")).strip("/").split("/")
    merged: list[str] = []
    for word in words:
        if merged and word.startswith(f"{merged[-1]}."):
            merged.pop()
        merged.append(word)
    names = [merged, words]
    if len(merged) > 1 and _ONNX_NODE.fullmatch(merged[-1]):
        names = [merged[:-1], *names]
    return [plain_name(".".join(words)) for words in names]


_ONNX_NODE: Final = re.compile(r"[A-Z][A-Za-z0-9]*(_\d+)?")


def _in_scope(layers: Sequence[Layer], parts: Sequence[str]) -> Iterator[list[Layer]]:
    """Those of the layers that live in the module that a line is named after, or in its parent.

    A convolution with its ReLU is named after the ReLU, which stands beside it.
    """
    words = candidates(parts[0])[0].split(".") if parts else []
    paths = {layer.name: plain_name(layer.name).split(".") for layer in layers}
    deepest = max(map(len, paths.values()), default=0)
    for count in range(min(len(words), deepest), 0, -1):
        yield [layer for layer in layers if paths[layer.name][:count] == words[:count]]


def _agrees(op: str, layer: Layer) -> bool:
    """Whether a layer is of an operator as profiles name it, or that is not told."""
    alike = {"conv2d": ("depthwise_conv2d",), "avg_pool": ("global_avg_pool",)}
    return op in ("", layer.op) or layer.op in alike.get(op, ())
