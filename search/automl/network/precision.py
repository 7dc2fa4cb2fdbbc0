"""Where a network computes in which precision: owners of values, and where they are rounded.

Each weighted layer has a choice of bits. What runs between layers takes the precision of the layer
before it (additions, pools, concatenations: of the operand whose layer ran last), so that a run of
fused or fusible operators has one choice. Where two precisions meet, values are converted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

from automl.network.bypass import Bypasses, goes_with
from automl.network.forward_tracer import Address
from automl.network.labels import names
from automl.network.operators import base_name, is_free
from automl.network.recorded import Call, Trace

#: Where the numbers of an integer network are rounded:
#: "reads": each layer rounds what it reads, nothing else (weights and activations of any bits, as
#: simulated accelerators and the literature count them);
#: "qdq": integer layers, and what takes their precision, read and write rounded values, as ONNX
#: Runtime's integer kernels do;
#: "qdq-residual": the same but for the convolution that ends in an addition, which hands it on
#: unrounded, as TensorRT fuses the two.
Scheme = Literal["reads", "qdq", "qdq-residual"]

#: The address of the network's own input.
NETWORK_INPUT: Final[Address] = ("", -1)
#: Bits from which on a value is a float.
FLOAT_BITS: Final = 16

_QUANTISABLE: Final = ("conv", "linear")
_RELUS: Final = names("relu hardtanh clamp clamp_min threshold")
#: Operators that integer kernels exist for, beside the weighted layers.
_FOLLOW: Final = names(
    "add max_pool2d_with_indices avg_pool2d _adaptive_avg_pool2d mean cat upsample_nearest2d"
)
#: Copies that leave every number as it is, or add zeros.
_COPIES: Final = names("clone copy constant_pad_nd pixel_shuffle pixel_unshuffle flip roll")


@dataclass(frozen=True, slots=True)
class Operand:
    """A value as an operation takes it in.

    Attributes:
        origin: The operation that computed its numbers; views and copies between are skipped.
        owner: The layer whose precision they have, "" where that is always float.
    """

    origin: Address
    owner: str


@dataclass(frozen=True, slots=True)
class Place:
    """An operation that computes something, in the order of the trace.

    Attributes:
        call: The operation.
        owner: The layer whose precision it takes, "" for float.
        operands: Its inputs, one for each of `call.inputs`.
        settles: Whether its output is a value of the network; False where a ReLU fuses with it.
    """

    call: Call
    owner: str
    operands: tuple[Operand, ...]
    settles: bool


@dataclass(frozen=True, slots=True)
class Rounding:
    """Which values are rounded under a choice of bits.

    Attributes:
        outputs: Bits of values that are rounded as outputs, so for every operation that takes them.
        inputs: Per operation, the bits to which it rounds each of its operands; 32 where it does
            not. A value's QParams belong to its origin and its bits, whichever operation rounds it.
    """

    outputs: Mapping[Address, int]
    inputs: Mapping[Address, tuple[int, ...]]


class Flow:
    """Who owns which value of a recorded pass.

    Args:
        trace: Of the dense network.
        removed: Blocks that are left out; what leaves them is what entered.
    """

    def __init__(self, trace: Trace, removed: frozenset[str] = frozenset()) -> None:
        self.trace = trace
        #: In the order of the trace.
        self.places: dict[Address, Place] = {}
        self._operands: dict[int, Operand] = {}
        self._order: dict[str, int] = {}
        self._uses = trace.uses()
        users, producers = trace.users(), trace.producers()
        bypasses = Bypasses(trace) if removed else None
        found = {name: bypasses.of(name) for name in removed} if bypasses else {}
        left = {past.leaves: past.enters for past in found.values() if past is not None}
        for call in trace.calls:
            before = producers.get(call.inputs[0]) if call.inputs else None
            if not any(goes_with(call, name, past) for name, past in found.items()):
                self._add(call, before, users)
            for value in left.keys() & set(call.outputs):
                self._operands[value] = self._operand(left[value])
        self._read = self._find_read(left)

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """Layers whose bits can be chosen, in network order."""
        return tuple(self._order)

    def owner(self, call: Call) -> str:
        """The layer whose precision an operation takes; "" for float."""
        place = self.places.get(call.step.address)
        return place.owner if place else ""

    def value_owner(self, value: int) -> str:
        """The layer whose precision a value of the trace has; "" for float."""
        return self._operand(value).owner

    def outputs(self) -> tuple[Operand, ...]:
        """The network's outputs."""
        return tuple(self._operand(value) for value in self.trace.output)

    def round(self, bits: Mapping[str, int], scheme: Scheme) -> Rounding:
        """Where values are rounded when the layers' activations have these bits.

        Args:
            bits: Of the activations that a layer reads, per layer; those that are not named are
                float, as are those of layers whose weights alone are rounded.
            scheme: Of the target.
        """
        outputs: dict[Address, int] = {}
        inputs: dict[Address, tuple[int, ...]] = {}
        last = {operand.origin for operand in self.outputs()}
        for address, place in self.places.items():
            own = bits.get(place.owner, 32)
            weighted = place.call.step.module == place.owner != ""
            if own >= FLOAT_BITS or (scheme == "reads" and not weighted):
                continue
            if address not in self._read:
                continue
            exempt = self._residual(place) if scheme == "qdq-residual" else None
            inputs[address] = tuple(
                own if operand.origin != exempt and self._settled(operand) else 32
                for operand in place.operands
            )
            ends = place.call.step.op == "linear" and address in last  # logits stay float
            if scheme != "reads" and place.settles and not ends:
                outputs[address] = own
        if scheme == "qdq-residual":
            for place in self.places.values():
                if bits.get(place.owner, 32) < FLOAT_BITS:
                    outputs.pop(self._residual(place) or NETWORK_INPUT, None)
        return Rounding(outputs, inputs)

    def _find_read(self, left: Mapping[int, int]) -> frozenset[Address]:
        """Operations that the network's outputs depend on: exporters leave out all others.

        What is written in place is taken for read: its views are values of their own.

        Args:
            left: Values that leave removed blocks, and those that entered them.
        """
        needed, found = {*self.trace.output}, set[Address]()
        for call in reversed(self.trace.calls):
            needed |= {left[value] for value in needed & left.keys()}
            if needed.isdisjoint(call.outputs) and not call.step.op.endswith("_"):
                continue
            found.add(call.step.address)
            needed.update(call.inputs)
        return frozenset(found)

    def _add(self, call: Call, before: Call | None, users: Mapping[int, list[Call]]) -> None:
        if not call.inputs or not call.outputs:
            return
        name = base_name(call.step.op)
        operands = tuple(self._operand(value) for value in call.inputs)
        passes = name in _COPIES or (is_free(call, before) and name not in _RELUS)
        if passes and len(call.inputs) == 1 and name not in ("mul", "div", "add", "sub", "rsub"):
            for value in call.outputs:
                self._operands[value] = operands[0]
            return
        owner = self._owner(call, name, operands)
        settles = not (owner and self._fused(call, users))
        address = call.step.address
        self.places[address] = Place(call, owner, operands, settles)
        for value in call.outputs:
            self._operands[value] = Operand(address, owner)

    def _owner(self, call: Call, name: str, operands: tuple[Operand, ...]) -> str:
        layer = call.step.module
        if layer:
            if name in _QUANTISABLE and self._uses[layer] == 1:
                self._order[layer] = len(self._order)
                return layer
            return operands[0].owner if name == "batch_norm" else ""
        if name in _RELUS:
            return operands[0].owner
        if name not in _FOLLOW or len(call.inputs) < (2 if name == "add" else 1):
            return ""
        if name == "add" and call.in_shapes[0] != call.in_shapes[-1]:
            return ""
        owners = [operand.owner for operand in operands if operand.owner]
        return max(owners, key=self._order.__getitem__, default="")

    def _fused(self, call: Call, users: Mapping[int, list[Call]]) -> bool:
        """Whether nothing but a batch norm or a ReLU that fuses with it reads the output."""
        readers = users.get(call.outputs[0], [])
        if len(readers) != 1 or call.outputs[0] in self.trace.output:
            return False
        name = base_name(readers[0].step.op)
        return name == "batch_norm" or (name in _RELUS and is_free(readers[0], call))

    def _operand(self, value: int) -> Operand:
        return self._operands.get(value, Operand(NETWORK_INPUT, ""))

    def _residual(self, place: Place) -> Address | None:
        """The operand of an addition that its owner's convolution writes straight into it."""
        if base_name(place.call.step.op) != "add":
            return None
        for operand in place.operands:
            writer = self.places.get(operand.origin)
            if writer and writer.call.step.module == place.owner and self._read_once(writer):
                return operand.origin
        return None

    def _settled(self, operand: Operand) -> bool:
        writer = self.places.get(operand.origin)
        return writer is None or writer.settles

    def _read_once(self, place: Place) -> bool:
        return sum(place.call.outputs[0] in call.inputs for call in self.trace.calls) == 1
