"""What a network is made of, as plain values: priced layers, coupled channels, removable blocks.

Nothing here knows torch. `automl.network.trace` reads these values off a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Final

from automl.network.replaceable import Gate, MergeableLayers

CONVOLUTIONS: Final = (
    "conv2d",
    "depthwise_conv2d",
    "conv_transpose2d",
    "conv3d",
    "depthwise_conv3d",
    "conv_transpose3d",
)
#: Operators that a table can price, named as in the shipped device data where it has them. Along
#: one dimension convolutions and pools are those of two, on maps of width 1.
OPERATORS = (
    *CONVOLUTIONS,
    "linear",
    "matmul",
    "lstm",
    "gru",
    "rnn",
    "max_pool",
    "avg_pool",
    "global_avg_pool",
    "add",
    "mul",
    "concat",
    "norm",
    "activation",
    "softmax",
    "resize",
    "shuffle",
    "elementwise",
    "reduce",
    "gather",
    "sort",
    "convert",
)
#: Operators whose weights are pairs of input and output channels, times the kernel.
WEIGHTED: Final = (*CONVOLUTIONS, "linear")
#: Recurrent operators -> products a step that each hidden channel takes with each input.
RECURRENT: Final = {"lstm": 4, "gru": 3, "rnn": 1}
#: What no table prices: an operator with weights that nothing is known of but its shapes.
UNPRICED: Final = "unpriced"

#: One number per dimension: (height, width), or (depth, height, width).
Extent = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """One priced operator, batch 1. A ReLU that follows a layer is fused into it and not listed.

    Attributes:
        name: The module's dotted name, or `add_3` for the fourth addition of the network.
        op: One of `OPERATORS`, or `UNPRICED`.
        in_channels: Channels of the input (features of a linear layer, K of a matmul).
        out_channels: Channels of the output.
        kernel, stride, padding, dilation: (height, width), with the depth before them in three
            dimensions.
        groups: Groups of a convolution, heads of a matmul, directions of a recurrent operator,
            operands of an elementwise one; 1 elsewhere.
        in_size, out_size: (height, width) of the maps, or (depth, height, width); (tokens, 1) for
            linear, (M, 1) for matmul, (steps, 1) for recurrent operators.
        detail: What the op's name leaves open: the function of an activation ("silu"), the mode of
            a resize, "channel" for a mul or add whose second operand is one value per channel,
            the hidden channels of an LSTM that writes fewer.
        batch: Maps that one input becomes (the frames of a clip) and that run together.
    """

    name: str
    op: str
    in_channels: int
    out_channels: int
    kernel: Extent = (1, 1)
    stride: Extent = (1, 1)
    padding: Extent = (0, 0)
    dilation: Extent = (1, 1)
    groups: int = 1
    in_size: Extent = (1, 1)
    out_size: Extent = (1, 1)
    detail: str = ""
    batch: int = 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all operators that have weights or multiply matrices, else 0."""
        pairs = self.in_channels * self.out_channels
        if self.op in CONVOLUTIONS:
            places = self.in_size if "transpose" in self.op else self.out_size
            return pairs // self.groups * prod(self.kernel) * prod(places) * self.batch
        if self.op in ("linear", UNPRICED):
            return pairs * prod(self.out_size) * self.batch
        if self.op == "matmul":
            return pairs * self.groups * self.in_size[0] * self.batch
        if self.op in RECURRENT:
            return self._recurrent_weights() * self.groups * self.in_size[0] * self.batch
        return 0

    def _recurrent_weights(self) -> int:
        """Weights of one direction, each of which is used once a step."""
        hidden = int(self.detail or self.out_channels)
        projected = hidden * self.out_channels if self.detail else 0
        return RECURRENT[self.op] * hidden * (self.in_channels + self.out_channels) + projected


@dataclass(frozen=True, slots=True)
class Width:
    """One side of a layer: channels that never go, and some for each kept channel of a group.

    Attributes:
        fixed: Channels that no policy touches.
        parts: (group name, channels of this side per kept channel of the group).
        products: (two group names, channels per pair of kept channels): heads, and their widths.
    """

    fixed: int = 0
    parts: tuple[tuple[str, int], ...] = ()
    products: tuple[tuple[tuple[str, str], int], ...] = ()

    def at(self, channels: Mapping[str, int]) -> int:
        """Channels of this side when the groups keep `channels` (all groups named)."""
        alone = sum(times * channels[group] for group, times in self.parts)
        both = (times * channels[one] * channels[two] for (one, two), times in self.products)
        return self.fixed + alone + sum(both)

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups that it depends on, each once."""
        pairs = (name for names, _ in self.products for name in names)
        return tuple(dict.fromkeys((*(name for name, _ in self.parts), *pairs)))


@dataclass(frozen=True, slots=True)
class Side:
    """Where a group touches a module: which positions each of its channels takes on one side.

    Attributes:
        module: Dotted name of the module, or of a parameter or buffer that no layer holds.
        side: "out", "in", or "through" where both are one; "axis1" is a parameter's second
            axis. Others name a call, a dimension and its extent: "size 3 1 8" where a call has
            to do with sizes, "over 0 1 8" where a statistic is taken, "maximum 0 1 8" of maxout.
        positions: One tuple per channel of the group: the positions along that side (several where
            a channel is repeated, as after a flatten).
    """

    module: str
    side: str
    positions: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class ChannelPair:
    """Two modules whose outputs are multiplied and summed over a group's channels, head by head.

    Attributes:
        left, right: Where they write the channels: per channel, one position for each head.
    """

    left: Side
    right: Side


@dataclass(frozen=True, slots=True)
class ChannelGroup:
    """Coupled channels, or runs of them that go together: one choice of how many stay, for all.

    Attributes:
        name: The first producer's module name.
        channels: How many there are to choose from.
        producers: Sides whose outputs the channels are (convolutions, linear layers, batch norms).
        consumers: Sides whose inputs they are, whose weights are refitted when channels go.
        partition: Channels must be kept in equal number from each of this many equal runs (grouped
            convolutions); 1 where there is no such tie.
        width: How many neighbouring channels of its first producer go together as one.
        sizes: Where modules name how many there are, as a view into heads does, or take statistics
            over them.
        pairs: Where its channels meet, as those of queries and keys: no weights read their loss.
        units: How many maxout units there are, where a channel is one piece of each: no weights
            read it but by their maximum. 0 for all other channels.
    """

    name: str
    channels: int
    producers: tuple[Side, ...]
    consumers: tuple[Side, ...]
    partition: int = 1
    width: int = 1
    sizes: tuple[Side, ...] = ()
    pairs: tuple[ChannelPair, ...] = ()
    units: int = 0


@dataclass(frozen=True, slots=True)
class Block:
    """A part that can be left out: replaced by the identity, its output shape is its input's.

    Attributes:
        name: Dotted name of the module.
        layers: Names of the priced layers that go with it.
        groups: Names of the channel groups that live in it alone and go with it.
        enters, leaves: Layers whose bits the value that enters it and the one that leaves it are
            written in, "" for float. Without the block, what left it has the bits of what entered.
        merges: Names of the merges of layers that go with it.
    """

    name: str
    layers: tuple[str, ...]
    groups: tuple[str, ...]
    enters: str = ""
    leaves: str = ""
    merges: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Parameters:
    """What of a network's parameters is counted with a layer. Each is counted once in a network.

    Attributes:
        weights: Whether the weights are, pairs of input and output channels times the kernel.
        per_output: Others for each output channel: biases, scales and shifts.
        fixed: Others, however many channels there are.
    """

    weights: bool = False
    per_output: int = 0
    fixed: int = 0

    @classmethod
    def usual(cls, op: str) -> Parameters:
        """Those of an operator by itself: weights and biases, or scales and shifts of a norm."""
        return cls(op in WEIGHTED, 1 if op in WEIGHTED else 2 if op == "norm" else 0)


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """A layer whose widths depend on groups, at every resolution that the network can run at.

    Attributes:
        layer: The layer of the dense network, at the dense resolution.
        inputs, outputs: Its sides.
        sizes: Per resolution of the network: (in_size, out_size).
        block: Name of the removable block that it lives in, or "".
        scales_groups: True where the convolution's `groups` shrink with its channels (depthwise).
        variants: Per resolution the dense layer, where more than its sizes changes (the window of
            an adaptive pool, the tokens that attention runs over); empty elsewhere.
        owner: Name of the layer whose choice of bits it runs in (its own for layers whose bits can
            be chosen), "" where it always computes in float.
        held: Parameters that are counted with it; None for the usual ones of its operator.
        heads: Of a product in heads that can be cut: the width that its `groups` are.
        kernel: The special kernel that it runs by; "" for the plain one.
    """

    layer: Layer
    inputs: Width
    outputs: Width
    sizes: tuple[tuple[Extent, Extent], ...]
    block: str = ""
    scales_groups: bool = False
    variants: tuple[Layer, ...] = ()
    owner: str = ""
    held: Parameters | None = None
    heads: Width | None = None
    kernel: str = ""

    @property
    def parameters(self) -> Parameters:
        """Parameters that are counted with it."""
        return Parameters.usual(self.layer.op) if self.held is None else self.held

    def at(self, channels: Mapping[str, int], resolution_index: int) -> Layer:
        """The layer under a choice of channels and resolution."""
        read, written = self.inputs.at(channels), self.outputs.at(channels)
        heads = 0 if self.heads is None else self.heads.at(channels)
        return self.sized(read, written, resolution_index, heads)

    def sized(
        self, in_channels: int, out_channels: int, resolution_index: int, heads: int = 0
    ) -> Layer:
        """The layer with that many channels at a resolution, and so many heads (0: all)."""
        in_size, out_size = self.sizes[resolution_index]
        here = self.variants[resolution_index] if self.variants else self.layer
        return replace(
            here,
            in_channels=in_channels + here.in_channels - self.layer.in_channels,
            out_channels=out_channels + here.out_channels - self.layer.out_channels,
            groups=in_channels if self.scales_groups else heads or self.layer.groups,
            in_size=in_size,
            out_size=out_size,
        )


@dataclass(frozen=True, slots=True)
class Boundary:
    """A value that goes from one layer's precision to another's: converted where they differ.

    Attributes:
        producer, consumer: The layers whose bits it is written and read in, "" for float.
        plan: The conversion as a layer, `op` "convert": the shape of the value, the block it goes
            with.
        value: Tells the value from others; one that several layers read is converted once.
        reader_block: Name of the removable block that reads it, or "".
        reader: Name of the module whose operation takes it in.
    """

    producer: str
    consumer: str
    plan: LayerPlan
    value: str = ""
    reader_block: str = ""
    reader: str = ""


@dataclass(frozen=True, slots=True)
class Unprunable:
    """A part that cannot be compressed safely, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Network:
    """A network as a search sees it.

    Attributes:
        plans: The priced layers in the order in which they run.
        groups: Channel groups in network order.
        blocks: Removable blocks in network order.
        input_shape: Shape of one batch-1 input, (1, channels, height, width) for images.
        resolutions: Square input sizes that the network runs at with an unchanged output shape,
            ascending; the last is the dense one. One entry where resolution cannot be chosen.
        unprunable: Parts that are left alone, with the reason.
        fingerprint: Names and shapes of all weights, hashed; tells one model from another.
        boundaries: Where values go from one layer's precision to another's.
        merges: Layers that can become one, in network order.
        gates: Gates of channels that can be left out, in network order.
    """

    plans: tuple[LayerPlan, ...]
    groups: tuple[ChannelGroup, ...]
    blocks: tuple[Block, ...]
    input_shape: tuple[int, ...]
    resolutions: tuple[int, ...]
    unprunable: tuple[Unprunable, ...] = ()
    fingerprint: str = ""
    boundaries: tuple[Boundary, ...] = ()
    merges: tuple[MergeableLayers, ...] = ()
    gates: tuple[Gate, ...] = ()

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The dense network's layers."""
        return tuple(plan.layer for plan in self.plans)

    @property
    def unpriced(self) -> tuple[Layer, ...]:
        """Layers with weights that no table can price: a latency without them is a bound."""
        return tuple(layer for layer in self.layers if layer.op == UNPRICED)

    @property
    def dense_channels(self) -> dict[str, int]:
        """Every group with all of its channels."""
        return {group.name: group.channels for group in self.groups}

    def shapes(
        self,
        channels: Mapping[str, int],
        removed: frozenset[str] = frozenset(),
        resolution: int = 0,
    ) -> tuple[Layer, ...]:
        """The layers as they would be, without running the model.

        Args:
            channels: Kept channels per group; groups that are not named keep all.
            removed: Names of blocks left out.
            resolution: Input size, one of `resolutions`; 0 for the dense one.
        """
        widths = self.dense_channels | dict(channels)
        index = self.resolutions.index(resolution) if resolution else len(self.resolutions) - 1
        return tuple(plan.at(widths, index) for plan in self.plans if plan.block not in removed)
