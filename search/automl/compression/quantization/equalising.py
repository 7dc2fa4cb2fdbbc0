"""Cross-layer equalisation: channels between two layers scaled so that both layers' weights agree.

With one scale a layer, the largest weight decides how finely all others are rounded. Where what
follows a layer's channel keeps positive factors (ReLU, pools), the channel may be divided by any
positive number and the weights that read it multiplied by it: the network stays the same, and the
ranges of channels need not differ.

Source: Nagel et al. 2019 (Data-Free Quantization), section 4.1. Differs: what the factors do to
activations is left to their ranges, which are measured (the paper absorbs high biases). A ReLU6 or
another clip keeps no factor: the paper puts a ReLU in its place, which is another network, and here
such pairs are left alone, as are channels that an addition, a concatenation or several layers read.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import nn

from automl.network import Call, TracedModel, base_name, names

Tensor = torch.Tensor
_LAYERS: Final = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
#: f(s x) = s f(x) for each channel's s > 0, and channels stay where they are.
_KEEP_FACTORS: Final = names(
    "relu leaky_relu prelu max_pool1d max_pool2d max_pool3d max_pool2d_with_indices avg_pool1d "
    "max_pool3d_with_indices avg_pool2d avg_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d "
    "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool2d _prelu_kernel "
    "mean dropout clone contiguous flatten view _unsafe_view reshape _reshape_alias squeeze"
)
#: Channels that two layers round so many times as finely are worth what it does to activations.
_GAIN: Final = 2.0
#: Rounds over all pairs: a layer between two pairs has its say in both.
_ROUNDS: Final = 40
#: Rounds end when no factor is further from 1.
_SETTLED: Final = 1e-3
#: Factors are held within this and its inverse: what reads a channel with nothing must not blow up.
_MOST: Final = 1e4


@dataclass(frozen=True, slots=True)
class LayerPair:
    """Two layers of which the second alone reads the first.

    Attributes:
        first, second: Their names.
    """

    first: str
    second: str


def equalised(traced: TracedModel) -> TracedModel:
    """The network with channels scaled alike wherever that changes nothing else.

    Returns:
        The same where there is nothing to scale; else with a model of its own.
    """
    known: dict[str, Any] = dict(traced.model.named_modules())
    pairs = tuple(
        each for each in layer_pairs(traced) if _gain(known[each.first], known[each.second]) > _GAIN
    )
    if not pairs:
        return traced
    model = copy.deepcopy(traced.model)
    layers: dict[str, Any] = dict(model.named_modules())
    for _ in range(_ROUNDS):
        if max(_scale(layers[each.first], layers[each.second]) for each in pairs) < _SETTLED:
            break
    return replace(traced, model=model)


def layer_pairs(traced: TracedModel) -> Iterator[LayerPair]:
    """Layers whose channels may be scaled alike, in network order."""
    trace, layers = traced.trace, dict(traced.model.named_modules())
    users, uses, outputs = trace.users(), trace.uses(), set(trace.output)
    read = Counter(weight for call in trace.calls for weight in call.weights)

    def is_own(name: str) -> bool:
        """A layer that is used once, with weights that nothing else reads."""
        layer = layers.get(name)
        used_once = uses[name] == read[f"{name}.weight"] == 1
        return name != "" and isinstance(layer, _LAYERS) and used_once

    def only_reader(call: Call) -> Call | None:
        """What alone reads what an operation writes, and nothing else."""
        after = [each for value in call.outputs for each in users.get(value, [])]
        if len(after) != 1 or outputs.intersection(call.outputs):
            return None
        return after[0] if after[0].inputs == call.outputs[:1] else None

    for call in trace.calls:
        name = call.step.module
        if not is_own(name):
            continue
        channels, after = _writes(layers[name]), only_reader(call)
        while after is not None and _keeps(after, channels):
            after = only_reader(after)
        reader = "" if after is None else after.step.module
        if is_own(reader) and _reads(layers[reader]) == channels:
            yield LayerPair(name, reader)


def _keeps(call: Call, channels: int) -> bool:
    """Whether factors of channels go through an operation, each to the place where it was."""
    if base_name(call.step.op) not in _KEEP_FACTORS or len(call.inputs) != 1:
        return False
    shapes = (*call.in_shapes, call.out_shapes[0])
    stay = call.in_dims == call.out_dims == (1,) and torch.equal(call.in_labels, call.out_labels)
    return stay and all(len(shape) > 1 and shape[1] == channels for shape in shapes)


def _writes(layer: Any) -> int:
    return int(layer.weight.shape[0])


def _reads(layer: Any) -> int:
    return int(layer.weight.shape[1]) * _groups(layer)


@torch.no_grad()
def _gain(first: Any, second: Any) -> float:
    """How many times as fine as now channels are rounded, on average, once they are scaled alike.

    A channel's share of the range of each of both layers, multiplied, as the paper's precision.
    """
    written, read = _written(first), _read(second)
    before = (written / written.max()) * (read / read.max())
    product = written * read
    return float((product / product.max()).sum() / before.sum().clamp_min(1e-30))


@torch.no_grad()
def _scale(first: Any, second: Any) -> float:
    """Scale the channels between two layers, in place; the largest logarithm of a factor."""
    written, read = _written(first), _read(second)
    both = (written > 0) & (read > 0)
    ones = torch.ones_like(read)
    factors = torch.where(both, (written / torch.where(both, read, ones)).sqrt(), ones)
    factors = factors.clamp(1 / _MOST, _MOST)
    first.weight.div_(factors.view(-1, *[1] * (first.weight.dim() - 1)))
    if first.bias is not None:
        first.bias.div_(factors)
    weights, groups = second.weight, _groups(second)
    by_output = factors.view(groups, 1, -1).expand(-1, len(weights) // groups, -1)
    weights.mul_(by_output.reshape(*weights.shape[:2], *[1] * (weights.dim() - 2)))
    return float(factors.log().abs().max())


def _written(layer: Any) -> Tensor:
    """The largest weight that writes each channel, float64."""
    weights: Tensor = layer.weight.double()
    return weights.abs().flatten(1).amax(1)


def _read(layer: Any) -> Tensor:
    """The largest weight that reads each channel, float64."""
    weights: Tensor = layer.weight.double()
    taps = weights.abs().reshape(*weights.shape[:2], -1).amax(2)
    return taps.view(_groups(layer), -1, weights.shape[1]).amax(1).flatten()


def _groups(layer: Any) -> int:
    return int(getattr(layer, "groups", 1))
