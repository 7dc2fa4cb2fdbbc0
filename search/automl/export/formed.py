"""Weights as what their form stores: few numbers, and where they go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from automl.compression import DenseForm, StoredPart, form_of
from automl.errors import QuantizationError, UsageError

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class FormedWeights:
    """A weight tensor as what its form stores.

    Attributes:
        form: Name of the form.
        parameter: As the form writes it.
        kernel: Shape of the layer's kernel: runs, outputs, inputs, height, width.
        shape: Of the weight.
        parts: What the form makes the weights of.
    """

    form: str
    parameter: str
    kernel: tuple[int, ...]
    shape: tuple[int, ...]
    parts: tuple[StoredPart, ...]

    def values(self) -> Tensor:
        """The weights, float32.

        Raises:
            QuantizationError: No such form here, or parts that make no such weights.
        """
        parts = [each.values if each.bits else each.values.double() for each in self.parts]
        try:
            form = form_of(self.form)
            if not isinstance(form, DenseForm):
                raise QuantizationError(f"form {self.form!r} stores no weights of its own")
            found: Tensor = form.unpack(form.read(self.parameter), parts, self.kernel)
            return found.reshape(self.shape).float()
        except (UsageError, ValueError, RuntimeError, IndexError) as problem:
            raise QuantizationError(
                f"these parts make no weights of form {self.form!r}: {problem}"
            ) from problem


class Stretch(BaseModel):
    """Numbers of a formed tensor as a header has them: how many, and bits of each; 0 of floats."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: Annotated[int, Field(ge=0, lt=1 << 40)]
    bits: Annotated[int, Field(ge=0, le=16)] = 0

    @property
    def size(self) -> int:
        """Bytes."""
        return -(-self.count * self.bits // 8) if self.bits else 4 * self.count


def pack_parts(parts: Sequence[StoredPart]) -> bytes:
    """The numbers, one part after the other."""
    content = bytearray()
    for part in parts:
        flat = part.values.detach().flatten()
        if part.bits:
            content += _packed(flat, part.bits)
        else:
            content += flat.float().numpy().tobytes()
    return bytes(content)


def unpack_parts(stretches: Sequence[Stretch], content: memoryview) -> Iterator[StoredPart]:
    """What was packed.

    Args:
        stretches: Numbers of each part.
        content: As many bytes as these take.
    """
    start = 0
    for each in stretches:
        found = content[start : start + each.size]
        start += len(found)
        if each.bits:
            yield StoredPart(_unpacked(found, each.count, each.bits), each.bits)
        else:
            yield StoredPart(torch.from_numpy(np.frombuffer(found, dtype="<f4").copy()))


def _packed(numbers: Tensor, bits: int) -> bytes:
    """Whole numbers side by side, the first in the lowest bits; unlike codes, of up to 16 bits."""
    single = numbers.numpy().astype(np.int32)[:, None] >> np.arange(bits) & 1
    return np.packbits(single.astype(np.uint8).ravel(), bitorder="little").tobytes()


def _unpacked(content: memoryview, count: int, bits: int) -> Tensor:
    packed = np.frombuffer(content, dtype=np.uint8)
    single = np.unpackbits(packed, count=count * bits, bitorder="little").reshape(count, bits)
    numbers = (single.astype(np.int64) << np.arange(bits)).sum(1)
    return torch.from_numpy(numbers)
