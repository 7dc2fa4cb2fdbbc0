"""What forms have in common whose weights are few numbers in many places."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from automl.compression.forms.base import CONVOLUTIONS, DenseForm, StoredPart, whole_number
from automl.network import Layer
from automl.policy import FLOAT_BITS, Bits, operators_bytes

if TYPE_CHECKING:
    from torch import Tensor


class SharedForm(DenseForm[int]):
    """Few numbers make a layer's weights; the parameter says how many weights one number makes.

    A layer that is rounded has its weights one by one: sharing then saves nothing.

    Attributes:
        tried: Parameters that are offered, from what changes a layer most.
        taps: Whether a layer has to have several.
    """

    ops: ClassVar[tuple[str, ...]] = (*CONVOLUTIONS, "linear")
    tried: ClassVar[tuple[int, ...]] = (8, 4, 2)
    taps: ClassVar[bool] = False

    def refusal(self, parameter: int | None, layer: Layer) -> str:
        """A layer takes it that mixes all of its channels, several on each side."""
        if layer.op not in self.ops or layer.groups > 1:
            return "it does not mix all of its channels"
        if self.taps and max(layer.kernel) < 2:
            return "it has no taps"
        most = min(layer.in_channels, layer.out_channels)
        if most < 2:
            return "it has one channel"
        return "" if parameter is None or parameter <= most else f"it has {most} channels"

    def parameters(self, layer: Layer) -> Sequence[int]:
        """Those that make the layer smaller."""
        dense = float(operators_bytes([layer], Bits()))
        return [
            each
            for each in self.tried
            if not self.refusal(each, layer) and float(self.bytes(each, layer, Bits())) < dense
        ]

    def bytes(self, parameter: int, layer: Layer, bits: Bits) -> Any:
        """Of the numbers, and of what says where they go."""
        if bits.weights < FLOAT_BITS:
            return operators_bytes([layer], bits)
        numbers, further = self.numbers(parameter, layer)
        return numbers * (bits.weights / 8) + further

    @abstractmethod
    def numbers(self, parameter: int, layer: Layer) -> tuple[Any, Any]:
        """How many numbers a layer is made of, and bytes of what says where they go."""

    def write(self, parameter: int) -> str:
        """The number."""
        return str(parameter)

    def read(self, text: str) -> int:
        """The number."""
        return whole_number(text)


def up(number: Any, divisor: int) -> Any:
    """A quotient rounded up; of an array, each."""
    return -(-number // divisor)


def index_bits(count: Any) -> Any:
    """Bits that tell so many apart, one at least; of an array, each."""
    import numpy as np

    found = np.ceil(np.log2(np.maximum(count, 2))).astype(np.int64)
    return int(found) if np.ndim(found) == 0 else found


class TiedForm(SharedForm):
    """Each weight is one of few numbers, or its opposite; which, follows from its place."""

    @abstractmethod
    def places(self, parameter: int, shape: Sequence[int]) -> tuple[Tensor, Tensor, int]:
        """Which number each weight is, its sign, [1, outputs, columns], and how many there are.

        Args:
            parameter: Which set.
            shape: Of the kernel.
        """

    def numbers(self, parameter: int, layer: Layer) -> tuple[Any, Any]:
        """The numbers; where they go follows from the shape."""
        return self.count(parameter, layer), 0

    @abstractmethod
    def count(self, parameter: int, layer: Layer) -> Any:
        """How many numbers there are."""

    def factors(self, parameter: int, kernel: Tensor, metric: Tensor | None) -> tuple[Tensor, ...]:
        """The member: [1, outputs, inputs, height, width]."""
        from automl.compression.forms.sharing import nearest_in, tied

        project = tied(*self.places(parameter, kernel.shape))
        return (nearest_in(kernel.flatten(2), metric, project).view(kernel.shape),)

    def pack(self, parameter: int, kernel: Tensor) -> tuple[StoredPart, ...]:
        """The numbers."""
        from automl.compression.forms.sharing import shared

        return (StoredPart(shared(kernel.flatten(2), *self.places(parameter, kernel.shape))),)

    def unpack(self, parameter: int, parts: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
        """As they were packed."""
        from automl.compression.forms.sharing import spread

        places, signs, _ = self.places(parameter, shape)
        return spread(parts[0], places, signs).view(*shape)
