"""Puts back operators that run but that the shape lists leave out: activations and splits.

The lists name no activations. A ReLU is part of the operator before it on every runtime here; the
swishes, h-swishes and GELUs of three families are operators of their own. Where they stand follows
from the published architectures: MobileNetV3 (Howard et al. 2019, tables 1 and 2), MixNet (Tan and
Le 2019, blocks with squeeze-and-excitation) and EfficientFormer (Li et al. 2022, MLPs). MixNet also
cuts its maps into groups of channels: a copy for each, before the convolutions that read them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from automl.latency.keys import OpKey

#: MobileNetV3's h-swish blocks begin with the one that halves a map of this size.
_H_SWISH_SIZE = 28


def with_unlisted(model: str, keys: Sequence[OpKey]) -> tuple[OpKey, ...]:
    """The operators of a network, with those that its shape list leaves out."""
    if "mobilenetv3" in model:
        return _insert(keys, lambda place: _mobilenet_v3(keys, place))
    if "mixnet" in model:
        first = next(i for i, key in enumerate(keys) if key.op == "global_avg_pool")
        start = max(i for i in range(first) if _expands(keys[i]))
        swish = _insert(keys, lambda place: "silu" if place >= start and _ends(keys, place) else "")
        return _with_splits(swish)
    if "efficientformer" in model:
        return _insert(keys, lambda place: "gelu" if _expands(keys[place], 4) else "")
    return tuple(keys)


def _insert(keys: Sequence[OpKey], function: Callable[[int], str]) -> tuple[OpKey, ...]:
    def generate() -> Iterator[OpKey]:
        for place, key in enumerate(keys):
            yield key
            name = function(place)
            if name:
                yield activation(key, name)

    return tuple(generate())


def activation(key: OpKey, name: str) -> OpKey:
    """An activation of the output of `key`."""
    channels, size = key.out_channels, key.out_size
    return OpKey(
        "activation", channels, channels, in_size=size, out_size=size, detail=name,
        precision=key.precision,
    )  # fmt: skip


def _with_splits(keys: Sequence[OpKey]) -> tuple[OpKey, ...]:
    def generate() -> Iterator[OpKey]:
        for place, key in enumerate(keys):
            convolution = key.op in ("conv2d", "depthwise_conv2d") and key.in_size != (1, 1)
            if convolution and _same_kind(keys, place):
                yield _copy(key)
            yield key

    return tuple(generate())


def _copy(reader: OpKey) -> OpKey:
    """The copy of a group of channels which `reader` reads."""
    channels, size = reader.in_channels, reader.in_size
    return OpKey(
        "concat", channels, channels, in_size=size, out_size=size, precision=reader.precision
    )


def _expands(key: OpKey, times: int = 2) -> bool:
    wide = key.out_channels >= times * key.in_channels
    return key.op in ("conv2d", "linear") and key.kernel == (1, 1) and wide


def _ends(keys: Sequence[OpKey], place: int) -> bool:
    """Whether an activation of a MixNet block stands after `place`: on whole maps, not on parts."""
    key = keys[place]
    if key.out_size == (1, 1):
        return key.op == "conv2d"
    if key.op == "concat":
        before = keys[place - 1]
        return before.op == "depthwise_conv2d" or _expands(before)
    following = [one.op for one in keys[place + 1 : place + 6]]
    parts = _same_kind(keys, place)
    if parts and "concat" in following:
        return False
    return key.op == "depthwise_conv2d" or _expands(key)


def _same_kind(keys: Sequence[OpKey], place: int) -> bool:
    """Whether a neighbour is another part of the same split operator."""
    near = [keys[i] for i in (place - 1, place + 1) if 0 <= i < len(keys)]
    key = keys[place]
    return any(one.op == key.op and one.in_channels == key.in_channels for one in near)


def _mobilenet_v3(keys: Sequence[OpKey], place: int) -> str:
    key = keys[place]
    squeezed = key.op == "conv2d" and key.out_size == (1, 1) and place < len(keys) - 3
    if squeezed and key.out_channels > key.in_channels:
        return "hardsigmoid"
    if place == 0:
        return "hardswish"
    late = _late(keys, place)
    if late and (key.op == "depthwise_conv2d" or (_expands(key) and not squeezed)):
        return "hardswish"
    return ""


def _late(keys: Sequence[OpKey], place: int) -> bool:
    """Whether `place` lies in the half with h-swish."""
    first = next(
        i
        for i, key in enumerate(keys)
        if key.op == "depthwise_conv2d"
        and key.stride == (2, 2)
        # Where padding is an operator of its own, the map is up to 4 larger.
        and key.in_size[0] <= _H_SWISH_SIZE + 4
    )
    return place >= first - 1
