"""Layers as people write them made plain: what computes a known layer in eval mode becomes it.

Weights that torch computes from others are baked in. A module that calls the function of a layer
once, with weights that do not depend on its input, becomes that layer, or an `OwnForward` one where
it does more than call it. A module that is a linear map, or scales and shifts each channel, becomes
a linear layer or a batch norm. All are believed only where the network's outputs stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map

from automl.network.forward_tracer import base_kind, leaf_kind
from automl.network.layer_probe import Visit, plain_form
from automl.network.outputs import output_tensors
from automl.network.parametrized import bake

Tensor = torch.Tensor
#: The network's outputs may change by this share of their scale: sums are taken in another order.
_ROUNDING: Final = 1e-4
#: Names of a module -> what takes its place.
_Parts = Mapping[tuple[str, ...], nn.Module]


def make_plain(model: nn.Module, example: Tensor) -> None:
    """Replace what computes a known layer by that layer, in place.

    Args:
        model: In eval mode, without gradients.
        example: An input.
    """
    bake(model)
    found: dict[tuple[str, ...], nn.Module] = {}
    for names, visit in _visits(model, example).items():
        within = any(names[0].startswith(f"{other}.") for each in found for other in each)
        made = None if within else plain_form(visit)
        if made is not None:
            found[names] = made
    if not found:
        return
    expected = _outputs(model, example)
    before = _put(model, found)
    if _same(model, example, expected):
        return
    _put(model, before)
    for names, made in found.items():
        before = _put(model, {names: made})
        if not _same(model, example, expected):
            _put(model, before)


def _visits(model: nn.Module, example: Tensor) -> dict[tuple[str, ...], Visit]:
    """Modules that may be layers, in the order of their names, and how each is called."""
    names: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if name and _may_be_layer(module):
            names.setdefault(module, []).append(name)
    seen: dict[nn.Module, Visit] = {}

    def note(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if len(given) == 1 and isinstance(output, Tensor) and given[0].is_floating_point():
            empty = torch.empty(0)  # not the values: they would be kept
            args, kwargs = tree_map(
                lambda leaf: empty if isinstance(leaf, Tensor) else leaf, (args, kwargs)
            )
            seen[module] = Visit(module, args, kwargs, given[0].shape, given[0].dtype)

    handles = [each.register_forward_hook(note, with_kwargs=True) for each in names]
    try:
        _outputs(model, example)
    finally:
        for handle in handles:
            handle.remove()
    return {tuple(names[module]): seen[module] for module in names if module in seen}


def _may_be_layer(module: nn.Module) -> bool:
    """Whether it holds constants of its own, is no plain layer and has none in it."""
    if leaf_kind(module) or base_kind(module) == "prelu":
        return False
    if any(base_kind(child) for child in module.modules() if child is not module):
        return False
    return any(True for _ in (*module.parameters(False), *module.buffers(False)))


def _put(model: nn.Module, parts: _Parts) -> dict[tuple[str, ...], nn.Module]:
    """Put modules in their places; returns what stood there."""
    before = {names: model.get_submodule(names[0]) for names in parts}
    for names, module in parts.items():
        for name in names:
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, module)
    return before


def _outputs(model: nn.Module, example: Tensor) -> list[Tensor]:
    """All tensors that the network gives, the same ones each time if it draws random numbers."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return output_tensors(model(example.clone()))


def _same(model: nn.Module, example: Tensor, expected: list[Tensor]) -> bool:
    try:
        found = _outputs(model, example)
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError, KeyError):
        return False  # something else of the module was asked for
    return len(found) == len(expected) and all(
        torch.allclose(left, right, 0, _ROUNDING * float(right.abs().max()), equal_nan=True)
        for left, right in zip(found, expected, strict=True)
        if left.shape == right.shape and right.is_floating_point()
    )
