"""What a network gives, of any nest, as tensors by name and as one row an input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class Here:
    """Where a tensor stands in what a module gives."""


@dataclass(frozen=True, slots=True)
class Signature:
    """How a module is called.

    Attributes:
        places: Where the values that go in stand among the leaves of (args, kwargs).
        plain: Whether it takes one tensor and nothing else, and gives one.
        form: What it gives, with a `Here` for each tensor.
        single: Whether it gives one tensor.
    """

    places: tuple[int, ...]
    plain: bool
    form: Any
    single: bool


def named_tensors(output: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors in an output: of mappings, sequences and dataclasses, in each other."""
    if isinstance(output, Tensor):
        yield name or "output", output
    elif isinstance(output, Mapping):
        for key, held in output.items():
            yield from named_tensors(held, f"{name}.{key}" if name else str(key))
    elif isinstance(output, list | tuple):
        keys = getattr(output, "_fields", range(len(output)))
        for key, held in zip(keys, output, strict=True):
            yield from named_tensors(held, f"{name}.{key}" if name else str(key))
    elif is_dataclass(output) and not isinstance(output, type):
        for each in fields(output):
            key = f"{name}.{each.name}" if name else each.name
            yield from named_tensors(getattr(output, each.name), key)


def output_tensors(output: Any) -> list[Tensor]:
    """The tensors in an output, in order."""
    return [tensor for _, tensor in named_tensors(output)]


def judged_tensors(output: Any, inputs: int) -> dict[str, Tensor]:
    """The tensors of an output that hold floats, one part an input."""
    return {
        name: tensor
        for name, tensor in named_tensors(output)
        if tensor.is_floating_point() and tensor.dim() and len(tensor) == inputs
    }


def output_rows(output: Any, inputs: int) -> Tensor:
    """One row an input: all `judged_tensors`, flattened, one after another."""
    tensors = judged_tensors(output, inputs).values()
    return torch.cat([each.reshape(inputs, -1) for each in tensors], 1)


def column_scales(output: Any, inputs: int) -> Tensor:
    """What squared differences of `output_rows` are divided by, so that each tensor counts alike.

    Of one tensor this is the variance of its values over the inputs (mean over values).
    """
    tensors = list(judged_tensors(output, inputs).values())
    columns = sum(each[0].numel() for each in tensors)
    parts = []
    for each in tensors:
        rows = each.reshape(inputs, -1)
        variance = float(rows.var(0).mean()) if inputs > 1 else 1.0
        share = rows.shape[1] * len(tensors) / columns
        parts.append(torch.full((rows.shape[1],), max(variance * share, 1e-12)))
    return torch.cat(parts)
