"""How the operators of a form belong together: which reads what, and how their outputs are one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Serial:
    """Each part reads what the one before it wrote; the first reads what the layer reads."""

    parts: tuple[Arrangement, ...]


@dataclass(frozen=True, slots=True)
class Parallel:
    """All parts read what the layer reads; what they write is added."""

    parts: tuple[Arrangement, ...]


#: A number is the place of an operator among those of its form that have numbers of their own.
Arrangement: TypeAlias = "int | Serial | Parallel"


def places(arrangement: Arrangement) -> Iterator[int]:
    """The operators, in the order in which they run."""
    if isinstance(arrangement, int):
        yield arrangement
        return
    for part in arrangement.parts:
        yield from places(part)


def composed(arrangement: Arrangement, factors: Sequence[Tensor]) -> Tensor:
    """The kernel of one convolution that computes what the operators do.

    Args:
        arrangement: Of the operators; in a chain one alone has taps along each axis.
        factors: Their kernels [runs, outputs, inputs, height, width].
    """
    from automl.compression.forms.algebra import chained

    if isinstance(arrangement, int):
        return factors[arrangement]
    kernels = [composed(part, factors) for part in arrangement.parts]
    if isinstance(arrangement, Serial):
        return chained(kernels)
    whole = kernels[0]
    for kernel in kernels[1:]:
        whole = whole + kernel
    return whole


def wired(arrangement: Arrangement, modules: Sequence[nn.Module]) -> nn.Module:
    """A module that runs the operators as they are arranged."""
    from torch.nn import Sequential

    from automl.compression.forms.modules import Added

    if isinstance(arrangement, int):
        return modules[arrangement]
    parts = [wired(part, modules) for part in arrangement.parts]
    if len(parts) == 1:
        return parts[0]
    return Sequential(*parts) if isinstance(arrangement, Serial) else Added(parts)
