"""QParams of activations, found on the values of a walk over the calibration inputs."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import torch
from torch import nn

from automl.compression.memory import Gate, ImageParts
from automl.compression.quantization.activation_ranges import (
    ActivationQParams,
    How,
    Observer,
    range_of,
)
from automl.compression.quantization.simulation import (
    SCHEMES,
    FakeQuantizeMode,
    Plan,
    Source,
    first_tensor,
)
from automl.network import NETWORK_INPUT, Address, ForwardTracer, LeafCall, SteppedTracer

Tensor = torch.Tensor
#: Values of a tensor that its range is found on, beside its exact ends.
_SAMPLES: Final = 1 << 14


class QParamsFinder:
    """Finds the QParams of values as they come by.

    Args:
        sources: What QParams are wanted for.
        readers: Per origin, the layer that an error names.
        scheme: Of the target's table, one of `SCHEMES`.
        kept: Operations that keep the QParams of what another wrote (`Plan.kept`).
        how: How ranges are found.
        seed: Of the sampled values.
    """

    def __init__(
        self,
        sources: Iterable[Source],
        readers: Mapping[Address, str],
        scheme: str | None,
        kept: Mapping[Address, Address],
        *,
        how: How = "mse",
        seed: int = 0,
    ) -> None:
        #: What was found so far.
        self.qparams: dict[Source, ActivationQParams] = {}
        self._readers, self._signed, self._kept = readers, SCHEMES[scheme][1], kept
        self._how: How = how
        self._seed = seed
        self._observers: dict[Address, Observer] = {}
        self._wanted: dict[Address, list[int]] = {}
        for address, bits in sources:
            self._wanted.setdefault(address, []).append(bits)

    def wants(self, address: Address) -> list[int]:
        """Bits that QParams of what an operation wrote are still wanted for."""
        wanted = self._wanted.get(address, [])
        if address in self._kept:
            before = {bits: self.qparams.get((self._kept[address], bits)) for bits in wanted}
            self.qparams |= {
                (address, bits): qparams for bits, qparams in before.items() if qparams
            }
        return [bits for bits in wanted if (address, bits) not in self.qparams]

    def add(self, address: Address, output: Any, part: int = 0, parts: int = 1) -> None:
        """Take in what an operation wrote for one of several parts of the inputs.

        Raises:
            QuantizationError: Values that are not finite; it names the layer.
        """
        if address not in self._observers:
            self._observers[address] = Observer(self._readers[address])
        self._observers[address].add(self._sample(address, first_tensor(output), part, parts))

    def settle(self, address: Address) -> None:
        """Find the QParams of what was taken in, if any are wanted.

        Raises:
            QuantizationError: Values that are constant; it names the layer.
        """
        wanted, observer = self.wants(address), self._observers.pop(address, None)
        if not wanted or observer is None:
            return
        signed = observer.least < 0 if self._signed is None else self._signed
        for bits in wanted:
            self.qparams[address, bits] = range_of(observer, bits, signed=signed, how=self._how)

    def settle_all(self) -> None:
        """Find all QParams that are wanted of what was taken in, in that order."""
        for address in list(self._observers):
            self.settle(address)

    def _sample(self, address: Address, values: Tensor, part: int, parts: int) -> Tensor:
        flat = _in_memory_order(values)
        if len(flat) <= _SAMPLES // parts:
            return flat
        seed = self._seed ^ zlib.crc32(repr(address).encode())  # whatever else is looked for
        generator = torch.Generator().manual_seed((seed + part) % 2**64)
        places = torch.randint(len(flat), (_SAMPLES // parts,), generator=generator)
        return torch.cat([flat[places], torch.stack(flat.aminmax())])


def _in_memory_order(values: Tensor) -> Tensor:
    """All numbers of a tensor in one row: not copied where only its channels lie last."""
    if values.dim() == 4 and values.is_contiguous(memory_format=torch.channels_last):
        return values.permute(0, 2, 3, 1).flatten()
    return values.flatten()


class CalibrationMode(FakeQuantizeMode, SteppedTracer):
    """Rounds by QParams that it finds itself, on the values of a walk over the inputs.

    QParams are found where the numbers are written, before they are rounded. So they fit what the
    layers before, rounded already, make of the inputs.

    Args:
        model: The network that is walked.
        plan: What is rounded.
        parts: What it is run on.
        how: How ranges are found.
    """

    def __init__(
        self, model: nn.Module, plan: Plan, parts: ImageParts, *, how: How = "mse"
    ) -> None:
        self._finder = QParamsFinder(plan.sources(), plan.readers, plan.scheme, plan.kept, how=how)
        super().__init__(model, plan, self._finder.qparams)
        self._parts = parts
        if self._finder.wants(NETWORK_INPUT):
            for number, here in enumerate(parts.slices):
                self._finder.add(NETWORK_INPUT, parts.read(here), number, len(parts.slices))
            self._finder.settle(NETWORK_INPUT)

    def calibrate(self) -> None:
        """Walk the network over the inputs, and find all that is wanted."""
        with self.attached():
            self.walk(self._parts.read, self._parts.slices)

    def expected(self, gate: Any) -> int:
        """As many parts as may wait there."""
        return self._parts.at(gate)

    def after(
        self, step: LeafCall, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        gate: Gate = ("range", step.address)
        if not self.is_settled(gate) and self._finder.wants(step.address):
            self._finder.add(step.address, output, self.part.number, self.expected(gate))
            self.wait(gate)
            self._finder.settle(step.address)
        super().after(step, func, args, kwargs, output)


class ObserverMode(ForwardTracer):
    """Finds QParams on the values of a network that rounds nothing."""

    def __init__(self, model: nn.Module, finder: QParamsFinder, parts: ImageParts) -> None:
        super().__init__(model)
        self._finder, self._parts = finder, parts
        self._number = 0

    def observe(self) -> None:
        """Run the network over the inputs, and find all that is wanted."""
        with self.attached():
            for number, here in enumerate(self._parts.slices):
                self._number = number
                self.start()
                inputs = self._parts.read(here)
                self._add(NETWORK_INPUT, inputs)
                self._model(inputs)
        self._finder.settle_all()

    def after(
        self, step: LeafCall, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        self._add(step.address, output)

    def _add(self, address: Address, output: Any) -> None:
        if self._finder.wants(address):
            self._finder.add(address, output, self._number, len(self._parts.slices))
