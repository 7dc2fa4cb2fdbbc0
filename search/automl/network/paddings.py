"""Zeros laid around maps before a convolution, which every runtime makes part of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from automl.network.layers import Layer
from automl.network.recorded import Call, Trace

#: Zeros (before, after) along the height and the width.
Zeros = tuple[tuple[int, int], tuple[int, int]]


def paddings_of(trace: Trace) -> dict[int, Zeros]:
    """Values that are maps with zeros around them, read by convolutions of layers alone."""
    users = trace.users()
    found = {}
    for call in trace.calls:
        zeros = _zeros(call)
        if zeros is None or call.outputs[0] in trace.output:
            continue
        readers = users.get(call.outputs[0], [])
        if readers and all(reader.step.op == "conv" for reader in readers):
            found[call.outputs[0]] = zeros
    return found


def with_padding(layer: Layer, zeros: Zeros) -> Layer:
    """The convolution of maps that were padded before, as one that pads them itself.

    Layers pad both ends alike. Where that gives another output than the zeros did, the maps count
    as if they had come with the zeros.
    """
    in_size, padding = list(layer.in_size), list(layer.padding)
    for axis, (before, after) in enumerate(zeros):
        extent = layer.in_size[axis] - before - after
        reach = layer.dilation[axis] * (layer.kernel[axis] - 1) + 1
        total = before + after + 2 * layer.padding[axis]
        for own in (-(-total // 2), total // 2):
            if (extent + 2 * own - reach) // layer.stride[axis] + 1 == layer.out_size[axis]:
                in_size[axis], padding[axis] = extent, own
                break
    return replace(layer, in_size=(in_size[0], in_size[1]), padding=(padding[0], padding[1]))


def _zeros(call: Call) -> Zeros | None:
    if call.step.op != "constant_pad_nd" or len(call.inputs) != 1 or not call.outputs:
        return None
    amounts: Sequence[int] = call.arguments[1]
    value = call.arguments[2] if len(call.arguments) > 2 else 0
    dimensions = len(call.in_shapes[0]) - 2
    inner, outer = amounts[: 2 * dimensions], amounts[2 * dimensions :]
    if value or dimensions not in (1, 2) or any(outer) or any(each < 0 for each in inner):
        return None
    pairs = [(before, after) for before, after in zip(inner[::2], inner[1::2], strict=True)]
    pairs += [(0, 0)] * (dimensions - len(pairs))
    return (pairs[0], (0, 0)) if dimensions == 1 else (pairs[1], pairs[0])
