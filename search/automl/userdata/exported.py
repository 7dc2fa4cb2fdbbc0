"""Exported programs (torch.export) as modules of layers again.

A program is one graph of operators. Those that read weights become the layers that they were, and
what one module did becomes a module again, by the names that the program keeps of them: so it is
read, cut and written as the model that it was exported from.
"""

from __future__ import annotations

import copy
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from zipfile import is_zipfile

import torch
from torch import fx, nn
from torch.export.pt2_archive import constants
from torch.fx.operator_schemas import normalize_function

from automl.errors import ModelError, Raised, attempt
from automl.userdata.archives import members
from automl.userdata.exported_batch import check_batches, free_batch, free_channels, operator_of
from automl.userdata.exported_layers import SEVERAL, layer_of, recurrent_of
from automl.userdata.exported_modules import PATH, Exported, nest, path_of, put

Tensor = torch.Tensor
#: What files of exported programs end in.
EXPORTED: Final = ".pt2"
#: Makes torch read files as with `weights_only=True`, whatever it is asked for.
_TENSORS_ALONE: Final = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
#: What files of constants begin with that are no tensors. Not every torch has each kind.
_OBJECTS: Final = tuple(
    getattr(constants, name, prefix)
    for name, prefix in (
        ("CUSTOM_OBJ_FILENAME_PREFIX", "custom_obj_"),
        ("OPAQUE_OBJ_FILENAME_PREFIX", "opaque_obj_"),
    )
)
#: What a program checks, which layers need not be told.
_CHECKS: Final = (
    "_assert_async",
    "_assert_scalar",
    "_assert_tensor_metadata",
    "sym_constrain_range",
    "sym_constrain_range_for_size",
)
_INTEGERS: Final = ("quantized_decomposed", "torchao", "quantized", "pt2e_quant")
_RECURRENT: Final = ("lstm", "gru", "rnn_tanh", "rnn_relu")
_TURNS: Final = ("t", "transpose", "permute")


def is_exported(made: Any) -> bool:
    """Whether something is an exported program or its module, without importing what makes them."""
    return type(made).__name__ == "ExportedProgram" or (
        isinstance(made, fx.GraphModule)
        and not isinstance(made, Exported)
        and any(map(operator_of, made.graph.nodes))
    )


def load_exported(path: Path) -> Any:
    """The exported program in a file. Nothing in it is unpickled but tensors and plain values.

    Raises:
        ModelError: There is no such file, or something else is in it.
    """
    if not os.path.isfile(path):
        raise ModelError(f"there is no file {path}")
    if not is_zipfile(path):
        raise ModelError(f"{path} is no exported program: torch.export.save writes them")
    _refuse_objects(path)
    log = logging.getLogger("torch.export")
    level = log.level
    log.setLevel(logging.CRITICAL)  # it writes what it raises as well
    try:
        with _without_code():
            found = attempt(lambda: torch.export.load(path))
    finally:
        log.setLevel(level)
    if isinstance(found, Raised):
        raise ModelError(
            f"{path} is no exported program that torch {torch.__version__} reads: {found}"
        )
    return found


def _refuse_objects(path: Path) -> None:
    """Refuse constants that are no tensors: to read these is to run what they say."""
    for each in members(path, ModelError):
        _, found, constant = each.filename.partition(f"/{constants.CONSTANTS_DIR}")
        if found and constant.startswith(_OBJECTS):
            raise ModelError(
                f"{path} holds an object that is no tensor ({constant}), which is not read: it"
                " could run any code; give the model itself"
            )


@contextmanager
def _without_code() -> Iterator[None]:
    """Where `torch.export.load` asks for all that pickles can hold, let it have tensors alone."""
    before = os.environ.get(_TENSORS_ALONE)
    os.environ[_TENSORS_ALONE] = "1"
    try:
        yield
    finally:
        del os.environ[_TENSORS_ALONE]
        if before is not None:
            os.environ[_TENSORS_ALONE] = before


def from_exported(program: Any) -> nn.Module:
    """The network of an exported program, in evaluation mode, its weights those of the program.

    Args:
        program: A `torch.export.ExportedProgram`, or what its `module()` gives.

    Raises:
        ModelError: It was exported in training mode, is of integers already, or takes batches of
            one size alone.
    """
    given = program if isinstance(program, fx.GraphModule) else program.module()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's copying uses what it warns of
        network = Exported(given, copy.deepcopy(given.graph))
    graph = network.graph
    _refuse(graph)
    for node in reversed(list(graph.nodes)):
        if node.target == "_guards_fn" or operator_of(node) in _CHECKS:
            graph.erase_node(node)
    free_channels(graph)
    batch = free_batch(graph)
    _put_layers(network)
    graph.eliminate_dead_code()
    nest(network)
    network.delete_all_unused_submodules()
    network.recompile()
    network.eval()
    check_batches(network, given, batch)
    return network


def _arguments(node: fx.Node) -> dict[str, Any]:
    assert callable(node.target)  # it is an operator
    found = normalize_function(
        node.target, node.args, node.kwargs, normalize_to_only_use_kwargs=True
    )
    return {} if found is None else dict(found.kwargs)


def _refuse(graph: fx.Graph) -> None:
    for node in graph.nodes:
        name = operator_of(node)
        space = str(getattr(node.target, "namespace", ""))
        if space.startswith(_INTEGERS):
            raise ModelError(
                f"the exported program is quantized already ({space}.{name}): give the model of "
                "floats that it was made from"
            )
        given = _arguments(node) if name in ("batch_norm", "dropout", "native_dropout") else {}
        training = given.get("training", given.get("train", False))
        if training and (name != "batch_norm" or given["running_mean"] is not None):
            at = ".".join(path_of(node)[-1:]) or "the top"
            raise ModelError(
                f"the program was exported in training mode ({name} at {at}): call eval() on the "
                "model before torch.export.export"
            )


def _put_layers(network: fx.GraphModule) -> None:
    """Call layers in place of the operators that read their weights."""
    made = dict[tuple[Any, ...], str]()
    for node in list(network.graph.nodes):
        name = operator_of(node)
        reads = _read_by(node, name)
        if reads is None:
            continue
        value, given, tensors = reads
        key = (name, *(each.target for each in tensors), str(_plain(given)))
        if key not in made:
            held = {item: _tensor(network, each) for item, each in given.items()}
            layer = _layer(name, held, value)
            if layer is None:
                continue
            made[key] = _place(network, layer, str(tensors[0].target), name)
        _call(network.graph, node, value, made[key], several=name in SEVERAL)


def _read_by(node: fx.Node, name: str) -> tuple[fx.Node, dict[str, Any], list[fx.Node]] | None:
    """What a layer's operator reads, what it was given else, and the weights among these."""
    if not name:
        return None
    given = _arguments(node)
    if name in ("addmm", "mm"):
        turned = given.pop("mat2")
        bias = given.pop("input") if name == "addmm" else None
        first = given.pop("mat1" if name == "addmm" else "input")
        weight = _turned(turned)
        if weight is None or given.get("beta", 1) != 1 or given.get("alpha", 1) != 1:
            return None
        value, given = first, {"weight": weight, "bias": bias}
    else:
        value = given.pop("input", None)
    if not isinstance(value, fx.Node):
        return None
    tensors = [each for each in _nodes(given.values()) if each.op == "get_attr"]
    constant = all(each.op == "get_attr" for each in _nodes(given.values()))
    if name in _RECURRENT:
        constant = _starts_at_zero(given)
        tensors = [each for each in tensors if each in (given.get("params") or ())]
    return (value, given, tensors) if tensors and constant else None


def _turned(node: Any) -> fx.Node | None:
    """The weight that a product reads turned; None where it is something else."""
    if not isinstance(node, fx.Node) or operator_of(node) not in _TURNS:
        return None
    weight = node.args[0]
    if not isinstance(weight, fx.Node) or weight.op != "get_attr":
        return None
    return weight if list(node.args[1:]) in ([], [0, 1], [1, 0], [[1, 0]]) else None


def _starts_at_zero(given: dict[str, Any]) -> bool:
    states = given.get("hx")
    states = states if isinstance(states, list | tuple) else [states]
    return all(isinstance(each, fx.Node) and operator_of(each) == "zeros" for each in states)


def _nodes(values: Any) -> list[fx.Node]:
    found = list[fx.Node]()
    fx.map_arg(tuple(values), found.append)
    return found


def _plain(given: dict[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in given.items() if not _nodes((each,))}


def _tensor(network: nn.Module, value: Any) -> Any:
    """The tensors that arguments name."""

    def read(node: fx.Node) -> Any:
        if node.op != "get_attr":
            return node
        owner, _, leaf = str(node.target).rpartition(".")
        return getattr(network.get_submodule(owner), leaf)

    return fx.map_arg(value, read)


def _layer(name: str, given: dict[str, Any], value: fx.Node) -> nn.Module | None:
    if name in _RECURRENT:
        return recurrent_of(name, given, list(given["params"]))
    shown = value.meta.get("val")
    dims = shown.dim() if isinstance(shown, Tensor) else 0
    return layer_of("linear" if name in ("addmm", "mm") else name, given, dims)


def _place(network: fx.GraphModule, layer: nn.Module, weight: str, operator: str) -> str:
    """Put a layer where its weights are, and give the name of that place.

    It is the place of the module that it was, if that holds nothing else; else a new one beneath.
    """
    owner = weight.rpartition(".")[0]
    holder = network.get_submodule(owner)
    own = [name for name, _ in holder.named_parameters(recurse=False)]
    theirs = [name for name, _ in layer.named_parameters(recurse=False)]
    alone = not list(holder.children()) and set(own) <= set(theirs)
    fresh = not isinstance(holder, fx.GraphModule) and type(holder) is nn.Module
    name = owner
    if not (owner and alone and fresh):
        parts = [owner, operator] if owner else [operator]
        name, count = ".".join(parts), 1
        while name in dict(network.named_modules()):
            count += 1
            name = ".".join([*parts[:-1], f"{operator}_{count}"])
    put(network, name, layer)
    return name


def _call(graph: fx.Graph, node: fx.Node, value: fx.Node, name: str, *, several: bool) -> None:
    with graph.inserting_before(node):
        call = graph.call_module(name, (value,))
    call.meta = dict(node.meta)
    call.meta[PATH] = tuple(each for each in path_of(node) if each != name)
    if not several:
        node.replace_all_uses_with(call)
        graph.erase_node(node)
        return
    for user in list(node.users):
        if user.args[1] == 0:
            user.replace_all_uses_with(call)
            graph.erase_node(user)
    if not node.users:
        graph.erase_node(node)
