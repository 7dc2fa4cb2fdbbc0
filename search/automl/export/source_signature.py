"""What a network is called with and what it gives, as its source says it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from torch import fx

from automl.errors import ModelError
from automl.export.source_names import is_name
from automl.export.source_operators import literal, written

_NO_LITERAL: Final = "the network cannot be written as source: it {} a {}"


@dataclass(frozen=True, slots=True)
class CallSignature:
    """How a network is called.

    Attributes:
        parameters: Of its forward, in order.
        leaves: What each tensor that its graph is given is called.
        unpacking: Lines that take nests of tensors apart.
    """

    parameters: tuple[str, ...]
    leaves: tuple[str, ...]
    unpacking: tuple[str, ...]


def signature_of(graph: fx.Graph) -> CallSignature | None:
    """How a network was called; None where its graph is given nothing but its tensors.

    Raises:
        ModelError: It takes something else than tensors, sequences and mappings.
    """
    info = getattr(graph._codegen, "pytree_info", None)
    if info is None:
        return None
    positional, named = info.in_spec.children()
    count = positional.num_children
    names = [each if is_name(each) else f"input{at}" for at, each in enumerate(info.orig_args)]
    parameters = [*names[:count], *map(str, named.context)]
    specs = [*positional.children(), *named.children()]
    leaves: list[str] = []
    unpacking: list[str] = []
    for parameter, spec in zip(parameters, specs, strict=True):
        if spec.is_leaf():
            leaves.append(parameter)
            continue
        for number, path in enumerate(_paths(spec)):
            leaves.append(f"{parameter}_{number}")
            unpacking.append(f"{leaves[-1]} = {parameter}{path}")
    return CallSignature(tuple(parameters), tuple(leaves), tuple(unpacking))


def _paths(spec: Any) -> Iterator[str]:
    """Where the tensors of a nest are, in order."""
    if spec.is_leaf():
        yield ""
        return
    if spec.type in (list, tuple):
        keys = [f"[{number}]" for number in range(spec.num_children)]
    elif spec.type is dict:
        keys = [f"[{written(key, str)}]" for key in spec.context]
    else:
        raise ModelError(_NO_LITERAL.format("takes", _kind(spec)))
    for key, child in zip(keys, spec.children(), strict=True):
        for path in _paths(child):
            yield f"{key}{path}"


def outputs_of(graph: fx.Graph, output: fx.Node, write: Callable[[Any], str], *, root: bool) -> str:
    """What a graph gives, in the form in which the network gives it.

    Raises:
        ModelError: That is something else than tensors, sequences and mappings.
    """
    info = getattr(graph._codegen, "pytree_info", None) if root else None
    if info is None or info.out_spec is None:
        return written(output.args[0], write)
    given = iter(_flat(output.args[0]))
    return _nested(info.out_spec, given, write)


def _flat(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _nested(spec: Any, given: Iterator[Any], write: Callable[[Any], str]) -> str:
    if spec.is_leaf():
        return written(next(given), write)
    parts = [_nested(each, given, write) for each in spec.children()]
    if spec.type is list:
        return f"[{', '.join(parts)}]"
    if spec.type is tuple:
        return f"({', '.join(parts)},)" if len(parts) == 1 else f"({', '.join(parts)})"
    if spec.type is dict or issubclass(spec.type or object, dict):
        keys = _keys(spec)
        pairs = (f"{_key(key)}: {part}" for key, part in zip(keys, parts, strict=True))
        return f"{{{', '.join(pairs)}}}"
    raise ModelError(_NO_LITERAL.format("gives", _kind(spec)))


def _keys(spec: Any) -> list[Any]:
    context = spec.context
    return list(context) if isinstance(context, list | tuple) else list(context[0])


def _key(key: Any) -> str:
    return literal(key) if isinstance(key, str) else written(key, str)


def _kind(spec: Any) -> str:
    return str(getattr(spec.type, "__name__", spec.type))
