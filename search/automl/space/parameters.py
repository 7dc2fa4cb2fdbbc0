"""Choices as plain values by name, as storages, logs and other tools' configurations hold them."""

from __future__ import annotations

from automl.space.kind import Variable
from automl.space.registry import kind_of


def parameter_name(variable: Variable) -> str:
    """A variable's name: its kind and its part, as "channels:layer1.conv1"."""
    return f"{variable.kind}:{variable.name}" if variable.name else variable.kind


def parameter_values(variable: Variable) -> list[int | str]:
    """A variable's options in order: numbers where its kind is ordered, or the kind's own text."""
    kind = kind_of(variable.kind)
    return [
        option if kind.ordered and isinstance(option, int) else kind.format(option)
        for option in variable.options
    ]
