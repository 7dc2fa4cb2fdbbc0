"""Integer networks simulated in float: values rounded where the target rounds them.

The weights of a `QuantizedModel` are rounded already; activations are rounded as it runs.
That is what ONNX Runtime's integer kernels compute, but for the order of float sums and the
rounding of biases to 32-bit integers. On x86 unsigned activations meet signed weights (`qdq-u8s8`):
kernels with VNNI add their products in 32 bits, so that nothing saturates; without VNNI (AVX2,
AVX-512 BW) pairs of products saturate at 16 bits. A table knows whether its device does that. Where
it does, its scheme holds weights to 7 bits (`qdq-u8s7`), of which 255 x 63 twice fits into 16 bits,
or stores them so that the runtime takes exact kernels (`qdq-u8u8`): sums are exact everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from automl.compression.layer_matrix import matrix
from automl.compression.quantization.activation_ranges import (
    ActivationQParams,
)
from automl.compression.quantization.codebook import Codebook
from automl.compression.quantization.qparams import QParams
from automl.errors import QuantizationError, nearest
from automl.network import (
    FLOAT_BITS,
    Address,
    Flow,
    ForwardTracer,
    LeafCall,
    Place,
    Rounding,
    Scheme,
    base_name,
    names,
    pass_layout_on,
)
from automl.policy import Bits

Tensor = torch.Tensor
#: The operation that wrote the numbers, and their bits. Each source has its own QParams.
Source = tuple[Address, int]
#: What a table's `scheme` says of its integer operators: where they round, and whether activations
#: are signed. Simulators have no scheme: there a value is signed where it is ever negative. With
#: "tensor" a layer's weights have one scale, else one an output channel (`is_per_tensor`).
SCHEMES: Final[Mapping[str | None, tuple[Scheme, bool | None]]] = {
    None: ("reads", None),
    "qdq-u8s8": ("qdq", False),
    "qdq-u8s7": ("qdq", False),
    "qdq-u8u8": ("qdq", False),
    "qdq-u8s8-tensor": ("qdq", False),
    "qdq-s8s8": ("qdq", True),
    "qdq-s8s8-tensor": ("qdq", True),
    "qdq-s8s8-residual": ("qdq-residual", True),
}
#: Operators that pick from the numbers that they read.
_PICKS: Final = names("max_pool2d_with_indices upsample_nearest2d")


@dataclass(frozen=True, slots=True)
class Plan:
    """Which values a network rounds under a choice of bits.

    Attributes:
        scheme: Of the target's table, one of `SCHEMES`.
        bits: Precision per layer, of weights as they are stored; those that are float are left out.
        rounding: Per operation, to how many bits.
        inputs: For each operation of `rounding.inputs`, whose numbers its tensors are, one entry
            per tensor argument; None where they are not rounded as inputs.
        readers: Per origin, the layer that an error about its values names.
        kept: Operations whose outputs are among the numbers that they read, and whose these are:
            they keep the QParams, because kernels that only pick integers need the same.
    """

    scheme: str | None
    bits: Mapping[str, Bits]
    rounding: Rounding
    inputs: Mapping[Address, tuple[Source | None, ...]]
    readers: Mapping[Address, str]
    kept: Mapping[Address, Address]

    def sources(self) -> tuple[Source, ...]:
        """Whatever the network needs QParams for, each once."""
        written = [(address, bits) for address, bits in self.rounding.outputs.items()]
        read = [source for each in self.inputs.values() for source in each if source]
        return tuple(dict.fromkeys([*written, *read]))


def make_plan(flow: Flow, bits: Mapping[str, Bits], scheme: str | None) -> Plan:
    """What is rounded in a network when its layers have these bits.

    Args:
        flow: Of the network, without the blocks that are left out.
        bits: Per layer; those that are not named are float.
        scheme: Of the target's table, one of `SCHEMES`.

    Raises:
        QuantizationError: No such scheme.
    """
    if scheme not in SCHEMES:
        known = [name for name in SCHEMES if name]
        raise QuantizationError(f"no quantization scheme {scheme!r}{nearest(scheme or '', known)}")
    rounded = {name: stored_bits(each, scheme) for name, each in bits.items() if is_rounded(each)}
    activations = {name: each.activations for name, each in rounded.items()}
    rounding = flow.round(activations, SCHEMES[scheme][0])
    inputs: dict[Address, tuple[Source | None, ...]] = {}
    readers: dict[Address, str] = {}
    for address, place in flow.places.items():
        if address in rounding.inputs:
            inputs[address] = _sources(place, rounding.inputs[address])
            for operand in place.operands:
                readers.setdefault(operand.origin, place.owner)
        if address in rounding.outputs:
            readers.setdefault(address, place.owner)
    kept = {
        address: place.operands[0].origin
        for address, place in flow.places.items()
        if base_name(place.call.step.op) in _PICKS and address in rounding.outputs
    }
    return Plan(scheme, rounded, rounding, inputs, readers, kept)


def stored_bits(bits: Bits, scheme: str | None) -> Bits:
    """The bits that a layer's weights are rounded to: 7 of 8 where two products could saturate."""
    if scheme != "qdq-u8s7" or bits.activations >= FLOAT_BITS:
        return bits
    return replace(bits, weights=min(bits.weights, 7))


def is_per_tensor(scheme: str | None) -> bool:
    """Whether all weights of a layer share one scale on the target."""
    return scheme is not None and scheme.endswith("-tensor")


def is_rounded(bits: Bits) -> bool:
    """Whether anything of a layer with these bits is rounded; 16 bits count as float."""
    return min(bits.weights, bits.activations) < FLOAT_BITS


def _sources(place: Place, bits: tuple[int, ...]) -> tuple[Source | None, ...]:
    """One entry a tensor argument, of which some (weights, constants) are no values of the pass."""
    pairs = list(zip(place.operands, place.call.in_shapes, bits, strict=True))
    result: list[Source | None] = []
    for shape in place.call.operands:
        if pairs and pairs[0][1] == shape:
            operand, _, own = pairs.pop(0)
            result.append((operand.origin, own) if own < FLOAT_BITS else None)
        else:
            result.append(None)
    return tuple(result)


def fake_quantize(values: Tensor, qparams: ActivationQParams, out: Tensor | None = None) -> Tensor:
    """Values rounded as ONNX's QuantizeLinear rounds: divided, halves to even, clipped.

    An eighth of the time of torch's own fake quantisation where `out` is given.
    """
    result = torch.div(values, qparams.scale, out=out)
    result.round_().clamp_(qparams.low - qparams.zero_point, qparams.high - qparams.zero_point)
    return result.mul_(qparams.scale)


class FakeQuantizeMode(ForwardTracer):
    """Rounds what operations read and write, by a plan and its QParams.

    Args:
        model: The network that is run inside it.
        plan: What is rounded.
        qparams: Of the plan's sources.
    """

    def __init__(
        self, model: nn.Module, plan: Plan, qparams: Mapping[Source, ActivationQParams]
    ) -> None:
        super().__init__(model)
        self.plan, self.qparams = plan, qparams
        written = set(plan.rounding.outputs.items())
        self._reads = {  # what is written rounded need not be rounded again
            address: tuple(
                source if source and source not in written else None for source in sources
            )
            for address, sources in plan.inputs.items()
            if any(source and source not in written for source in sources)
        }

    def given(
        self, step: LeafCall, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        sources = self._reads.get(step.address)
        if sources is None:
            return args, kwargs
        leaves, layout = tree_flatten((args, kwargs))
        tensors = [index for index, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        for index, source in zip(tensors, sources, strict=True):
            if source is not None:
                # an operation in place writes to its first operand, whatever it is given
                inside = step.op.endswith("_") and index == tensors[0]
                out = leaves[index] if inside else None
                leaves[index] = self.rounded(leaves[index], source, out)
        args, kwargs = tree_unflatten(leaves, layout)
        return args, kwargs

    def after(
        self, step: LeafCall, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        bits = self.plan.rounding.outputs.get(step.address)
        if bits is not None:
            value = first_tensor(output)
            self.rounded(value, (step.address, bits), value)

    def rounded(self, values: Tensor, source: Source, out: Tensor | None) -> Tensor:
        """What an operation reads or wrote, rounded; in place where `out` is given."""
        return fake_quantize(values, self.qparams[source], out)


def first_tensor(output: Any) -> Tensor:
    """The tensor that an operation wrote; of a pool that also writes places, the values."""
    return next(leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor))


class QuantizedModel(nn.Module):
    """A compressed network that computes what the integer network exported from it computes.

    Its outputs are for judging, not for training: no gradients.

    Attributes:
        network: In float, its weights rounded already.
        plan: What is rounded as it runs.
        qparams: Of the plan's sources.
        weights: Per layer with rounded weights: their QParams (integers times a scale a channel)
            or their codebook.
    """

    def __init__(
        self,
        network: nn.Module,
        plan: Plan,
        qparams: Mapping[Source, ActivationQParams],
        weights: Mapping[str, QParams | Codebook],
    ) -> None:
        super().__init__()
        self.network, self.training = network, network.training
        pass_layout_on(network, self)
        self.plan, self.qparams, self.weights = plan, dict(qparams), dict(weights)

    @property
    def bits(self) -> Mapping[str, Bits]:
        """Precision per layer; those that are float are left out."""
        return self.plan.bits

    @property
    def scheme(self) -> str | None:
        """Of the target's table, one of `SCHEMES`."""
        return self.plan.scheme

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The network's outputs, without gradients; called as the network is."""
        with FakeQuantizeMode(self.network, self.plan, self.qparams).attached():
            return self.network(*args, **kwargs)

    def integers(self, name: str) -> Tensor:
        """A layer's weights as int8, in their own shape: what times `scales` are its weights.

        Only of layers in `weights` with a `QParams`.
        """
        module: Any = self.network.get_submodule(name)
        scale = self._qparams(name).scale
        codes = matrix(module) / torch.where(scale > 0, scale, torch.ones_like(scale))
        return codes.round().to(torch.int8).view(module.weight.shape)

    def scales(self, name: str) -> Tensor:
        """What a layer's integers are multiplied by, float32 [output channels]."""
        return self._qparams(name).scale.flatten()

    def get_extra_state(self) -> dict[str, Any]:
        """QParams and codebooks, as tensors and plain values: part of `state_dict`."""
        kept = {name: _plain(each) for name, each in self.weights.items()}
        qparams = [
            [*source[0], source[1], *_numbers(qparams)] for source, qparams in self.qparams.items()
        ]
        return {"weights": kept, "grids": qparams}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take over QParams and codebooks: part of `load_state_dict`."""
        self.weights = {name: _restored(each) for name, each in state["weights"].items()}
        self.qparams = {
            ((name, place), bits): ActivationQParams(scale, zero_point, low, high)
            for name, place, bits, scale, zero_point, low, high in state["grids"]
        }

    def _qparams(self, name: str) -> QParams:
        qparams = self.weights[name]
        assert isinstance(qparams, QParams)
        return qparams


def _numbers(qparams: ActivationQParams) -> Iterator[float]:
    return iter((qparams.scale, qparams.zero_point, qparams.low, qparams.high))


def _plain(weights: QParams | Codebook) -> dict[str, Any]:
    if isinstance(weights, QParams):
        return {"scale": weights.scale, "bits": weights.bits, "odd": weights.odd}
    return {"entries": weights.entries, "indices": weights.indices, "bits": weights.bits}


def _restored(plain: dict[str, Any]) -> QParams | Codebook:
    return QParams(**plain) if "scale" in plain else Codebook(**plain)
