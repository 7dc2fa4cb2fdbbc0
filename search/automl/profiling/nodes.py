"""What a profile of someone else's run says of a network's parts, before it is matched."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from automl.network import Layer

#: Bytes of a profile: some hundred runs of a large network.
PROFILE_BYTES: Final = 1 << 26
#: Milliseconds that an operator may take; what is computed from several still fits a float.
MOST_MS: Final = 1e12

#: Operators that differ in name only once their shape is known.
_FAMILY: Final = {"depthwise_conv2d": "conv2d", "global_avg_pool": "avg_pool"}

#: What ends the name of an ONNX node, and the operator that it is priced as ("" = costs nothing).
ONNX_OPS: Final = {
    "Conv": "conv2d",
    "ConvTranspose": "conv_transpose2d",
    "Gemm": "linear",
    "MatMul": "matmul",
    "MaxPool": "max_pool",
    "AveragePool": "avg_pool",
    "GlobalAveragePool": "global_avg_pool",
    "ReduceMean": "global_avg_pool",
    "Add": "add",
    "Mul": "mul",
    "Concat": "concat",
    "Softmax": "softmax",
    "Resize": "resize",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """What is known of an operator; 0 and None where the profile does not tell.

    Attributes:
        op: One of `automl.network.layers.OPERATORS`.
        in_channels, out_channels, in_size, out_size: As in `Layer`.
        kernel, stride, padding, dilation: As in `Layer`.
        groups: As in `Layer`.
        detail: As in `Layer`.
        blocks: Channels may be shown rounded up to a multiple of one of these, as blocked layouts
            hold them.
    """

    op: str
    in_channels: int
    out_channels: int
    in_size: tuple[int, int]
    out_size: tuple[int, int]
    kernel: tuple[int, int] | None = None
    stride: tuple[int, int] | None = None
    padding: tuple[int, int] | None = None
    dilation: tuple[int, int] | None = None
    groups: int = 0
    detail: str = ""
    blocks: tuple[int, ...] = (1,)

    def fits(self, layer: Layer) -> bool:
        """Whether a layer agrees with all that is known.

        A linear layer on a vector may have been run as a convolution of a single pixel.
        """
        single = (self.op, layer.op, self.in_size, layer.in_size)
        if single == ("conv2d", "linear", (1, 1), (1, 1)):
            sides = (self.in_channels, self.out_channels)
            return sides == (layer.in_channels, layer.out_channels)
        if _FAMILY.get(self.op, self.op) != _FAMILY.get(layer.op, layer.op):
            return False
        if (self.in_size, self.out_size) != (layer.in_size, layer.out_size):
            return False
        channels = (
            (self.in_channels, layer.in_channels),
            (self.out_channels, layer.out_channels),
            (self.groups or layer.groups, layer.groups),
        )
        if not all(self._holds(*pair) for pair in channels):
            return False
        if self.detail and self.detail != layer.detail:
            return False
        if "pool" in layer.op and layer.out_size == (1, 1):
            return True  # the window is the map, however it is written
        known = (
            (self.kernel, layer.kernel),
            (self.stride, layer.stride),
            (self.padding, layer.padding),
            (self.dilation, layer.dilation),
        )
        return all(found is None or found == held for found, held in known)

    def _holds(self, shown: int, channels: int) -> bool:
        return shown == channels or any(shown == -(-channels // b) * b for b in self.blocks)


@dataclass(frozen=True, slots=True)
class ProfiledNode:
    """One line of a profile.

    Attributes:
        name: As the profile shows it.
        seconds: Of one execution.
        runs: Executions behind it.
        branches: Names of what was fused, for each of the operators that run beside each other
            in it; one branch where nothing was merged.
        aside: Why it is no operator of the network (a layout change, a copy, a subgraph), or "".
        op: Operator that the profile names, or "".
        shape: What it tells of the shape.
        fused: Operators known to be computed with it ("add" for a residual).
        precision: As in `OpKey`, or "".
    """

    name: str
    seconds: float
    runs: int
    branches: tuple[tuple[str, ...], ...]
    aside: str = ""
    op: str = ""
    shape: Shape | None = None
    fused: frozenset[str] = field(default_factory=frozenset)
    precision: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile as read.

    Attributes:
        runtime: Name of what wrote it, as `runtimes.RUNTIMES` lists them.
        nodes: In the order in which they run.
    """

    runtime: str
    nodes: tuple[ProfiledNode, ...]


def size_of(dimensions: list[int]) -> tuple[int, tuple[int, int]]:
    """Channels and (height, width) of a tensor of batch 1, as `Layer` has them.

    Maps are (1, channels, height, width); rows of features (1, tokens, features); vectors
    (1, features).
    """
    if len(dimensions) >= 4:
        return dimensions[-3], (dimensions[-2], dimensions[-1])
    if len(dimensions) == 3:
        return dimensions[2], (dimensions[1], 1)
    return (dimensions[-1] if dimensions else 1), (1, 1)


def onnx_op(part: str) -> str:
    """What a node of an ONNX graph is priced as, by the last word of its name; "" if not known."""
    return ONNX_OPS.get(without_endings(part.rpartition("/")[2], ("nchwc",), numbered=True), "")


def without_endings(name: str, words: tuple[str, ...], *, numbered: bool = False) -> str:
    """A name without what exporters and runtimes put behind it: "_output_0", "_nchwc".

    Args:
        name: Of a node or a value.
        words: Endings that stand alone, each behind an underscore. Those that end in "#" have a
            number behind them.
        numbered: Whether numbers go, too.
    """
    parts = name.split("_")
    while len(parts) > 1:
        number = parts[-1].isdecimal() and parts[-1].isascii()
        if number and len(parts) > 2 and f"{parts[-2]}#" in ("output#", *words):
            del parts[-2:]
        elif parts[-1] in words or (number and numbered):
            parts.pop()
        else:
            break
    return "_".join(parts)
