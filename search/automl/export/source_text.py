"""A network of graphs as the text of a Python module: a class for each module that does something.

Modules that call their children one after another are written as `nn.Sequential`, and modules that
do the same are of one class.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, Final

import torch
from torch import fx, nn

from automl.errors import ModelError
from automl.export.source_layers import made_by, module_of
from automl.export.source_names import ValueNames, is_name
from automl.export.source_operators import expression, literal, written
from automl.export.source_signature import outputs_of, signature_of

Tensor = torch.Tensor
_WIDTH: Final = 100
_BODY: Final = " " * 8
#: Places of the network that the docstring of a class names.
_SHOWN: Final = 4


class SourceText:
    """The text of a network's classes, and the tensors that they hold.

    Args:
        network: Of graphs within graphs, whose leaves are layers of torch's own.
        name: Of the network's class.

    Attributes:
        name: Of the network's class.
        tensors: By their names in the state dict.

    Raises:
        ModelError: Something in it cannot be written; names where.
    """

    def __init__(self, network: fx.GraphModule, name: str) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._bodies: dict[str, str] = {}  # class by body
        self._places: dict[str, list[str]] = {}  # where each class is, in the network
        self._styles: dict[int, str] = {}
        self.name = name
        self._taken = {name}
        self._add_class(network, "")

    def text(self) -> str:
        """The classes, with two empty lines between them, the network's last."""
        return "\n\n\n".join(
            body.replace("class ?", f"class {name}", 1).replace("???", _said(self._places[name]), 1)
            for body, name in self._bodies.items()
        )

    def _make(self, module: nn.Module, place: str) -> str:
        """The call that makes a module."""
        layer = made_by(module)
        if layer is not None:
            self._keep(module, place)
            return layer
        if isinstance(module, fx.GraphModule):
            single = self._single(module)
            if single is not None:
                return single
            steps = self._steps(module, place)
            if steps is not None:
                self._styles[id(module)] = "list"
                return _call("nn.Sequential", steps)
        elif type(module) not in (nn.Module, nn.ModuleList, nn.ModuleDict, nn.Sequential):
            raise ModelError(
                f"{place} cannot be written as source: it is a {type(module).__name__}, which is no"
                " layer of torch's own"
            )
        elif _style(module) == "list":
            children = module.named_children()
            made = [self._make(each, f"{place}.{name}") for name, each in children]
            return f"nn.ModuleList([{', '.join(made)}])"
        return f"{self._add_class(module, place)}()"

    def _keep(self, module: nn.Module, place: str) -> None:
        found = module.state_dict(keep_vars=True)
        self.tensors |= {_under(place, name): each.detach() for name, each in found.items()}

    def _single(self, module: fx.GraphModule) -> str | None:
        """The call that makes a module of one operator, if it is one of torch's own."""
        nodes = [each for each in module.graph.nodes if each.op not in ("placeholder", "output")]
        holders = [each for each in module.graph.nodes if each.op == "placeholder"]
        alone = len(nodes) == len(holders) == 1 and nodes[0].op == "call_function"
        return module_of(nodes[0]) if alone and not list(module.children()) else None

    def _steps(self, module: fx.GraphModule, place: str) -> list[str] | None:
        """What makes the parts of a chain in its order; None where it is none, or has other names.

        Where a number has no part, it had one that does nothing when the network is used.
        """
        numbers = [name for name, _ in module.named_children()]
        chain = _chain(module)
        if chain is None or not numbers or any(not name.isdecimal() for name in numbers):
            return None
        planned: list[tuple[int | None, str]] = []
        for node in chain:
            if node.op == "call_module":
                planned.append((int(str(node.target)), ""))
            else:
                made = module_of(node)
                if made is None:
                    return None
                planned.append((None, made))
        found: list[str | int] = []
        waiting: list[str] = []
        for number, made in planned:
            if number is None:
                waiting.append(made)
                continue
            room = number - len(found) - len(waiting)
            if room < 0:
                return None
            found += [*waiting, *["nn.Identity()"] * room, number]
            waiting = []
        if sorted(map(int, numbers)) != [each for each in found if isinstance(each, int)]:
            return None
        return [
            self._make(module.get_submodule(str(each)), f"{_under(place, str(each))}")
            if isinstance(each, int)
            else each
            for each in [*found, *waiting]
        ]

    def _add_class(self, module: nn.Module, place: str) -> str:
        """Write a module's class, unless one is there that does the same; gives its name."""
        style = _style(module)
        children = {
            name: self._make(each, _under(place, name)) for name, each in module.named_children()
        }
        lines = _makes_children(children, style)
        lines += self._own_tensors(module, place)
        base = {"list": "nn.ModuleList", "dict": "nn.ModuleDict"}.get(style, "nn.Module")
        body = f'class ?({base}):\n    """???"""\n\n    def __init__(self):\n'
        body += _lines(lines)
        if isinstance(module, fx.GraphModule):
            body += "\n\n" + self._forward(module, place)
        if body not in self._bodies or not place:
            self._bodies[body] = self._class_name(place) if place else self.name
        name = self._bodies[body]
        self._places.setdefault(name, []).append(place)
        return name

    def _class_name(self, place: str) -> str:
        words = re.findall(r"[A-Za-z0-9]+", place)
        name = "".join(word[:1].upper() + word[1:] for word in words[:1]) or "Part"
        for word in words[1:]:
            apart = "_" if name[-1].isdigit() and word[0].isdigit() else ""
            name += f"{apart}{word[:1].upper()}{word[1:]}"
        name = name if is_name(name) else f"Part{name}"
        fresh, number = name, 1
        while fresh in self._taken:
            number += 1
            fresh = f"{name}_{number}"
        self._taken.add(fresh)
        return fresh

    def _own_tensors(self, module: nn.Module, place: str) -> list[str]:
        lines = []
        for name, each in module.named_parameters(recurse=False):
            self.tensors[_under(place, name)] = each.detach()
            trained = "" if each.is_floating_point() else ", requires_grad=False"
            made = f"nn.Parameter({_empty(each)}{trained})"
            lines.append(
                f"self.{name} = {made}"
                if is_name(name)
                else f"self.register_parameter({literal(name)}, {made})"
            )
        for name, held in _buffers(module):
            self.tensors[_under(place, name)] = held.detach()
            lines.append(f"self.register_buffer({literal(name)}, {_empty(held)})")
        return lines

    def _forward(self, module: fx.GraphModule, place: str) -> str:
        graph = module.graph
        signature = signature_of(graph) if not place else None
        names = ValueNames(graph, () if signature is None else signature.leaves)

        def write(node: Any) -> str:
            return self._reached(module, str(node.target)) if node.op == "get_attr" else names[node]

        taken = [names[node] for node in graph.nodes if node.op == "placeholder"]
        lines = [] if signature is None else list(signature.unpacking)
        apart = set[fx.Node]()
        for node in graph.nodes:
            if node.op not in ("call_module", "call_function") or node in apart:
                continue
            parts = names.parts(node)
            apart.update(parts)
            if node.op == "call_module":
                called = self._reached(module, str(node.target))
                value = f"{called}({', '.join(written(each, write) for each in node.args)})"
            else:
                value = expression(node, write, place or "the network")
            written_to = [names[part] for part in parts] or [names[node]]
            lines.append(f"{', '.join(written_to)} = {value}")
        (output,) = (node for node in graph.nodes if node.op == "output")
        given = taken if signature is None else signature.parameters
        lines = _returning(lines, outputs_of(graph, output, write, root=not place))
        head = f"    def forward({', '.join(['self', *given])}):\n"
        return head + _lines(lines)

    def _reached(self, module: nn.Module, target: str) -> str:
        """How a module's code names a part of it."""
        said, here = "self", module
        for name in target.split("."):
            if name in here._modules:
                style = self._styles.get(id(here)) or _style(here)
                here = here.get_submodule(name)
                if style == "list":
                    said += f"[{name}]"
                else:
                    said += f'["{name}"]' if style == "dict" else f".{name}"
            else:
                said = f"{said}.{name}" if is_name(name) else f"getattr({said}, {literal(name)})"
        return said


def _chain(module: fx.GraphModule) -> list[fx.Node] | None:
    """The operators of a graph of which each reads what the one before it gave, alone."""
    nodes = [node for node in module.graph.nodes if node.op not in ("placeholder", "output")]
    before: fx.Node | None = next(
        (node for node in module.graph.nodes if node.op == "placeholder"), None
    )
    for node in nodes:
        read = node.all_input_nodes
        if node.op == "get_attr" or read != [before] or node.args[:1] != (before,):
            return None
        if before is None or len(before.users) != 1:
            return None
        before = node
    (output,) = (node for node in module.graph.nodes if node.op == "output")
    return nodes if output.args == (before,) else None


def _style(module: nn.Module) -> str:
    """How the children of a module are found: by attribute, by number, or by name."""
    names = [name for name, _ in module.named_children()]
    if not names or all(map(is_name, names)):
        return "module"
    own = [*module.named_parameters(recurse=False), *_buffers(module)]
    numbered = names == [str(number) for number in range(len(names))]
    return "list" if numbered and not own else "dict"


def _makes_children(children: dict[str, str], style: str) -> list[str]:
    if style == "list":
        return [_call("super().__init__", ["[" + ", ".join(children.values()) + "]"])]
    if style == "dict":
        entries = [f"{literal(name)}: {made}" for name, made in children.items()]
        return [_call("super().__init__", entries, "{}")]
    return ["super().__init__()", *(f"self.{name} = {made}" for name, made in children.items())]


def _buffers(module: nn.Module) -> list[tuple[str, Tensor]]:
    """Tensors of a module's own that are not trained, however they are held."""
    found = dict(module.named_buffers(recurse=False))
    found |= {name: each for name, each in vars(module).items() if isinstance(each, Tensor)}
    return list(found.items())


def _empty(tensor: Tensor) -> str:
    kind = "" if tensor.dtype == torch.float32 else f", dtype={tensor.dtype}"
    shape = tuple(tensor.shape)
    return f"torch.empty({', '.join(map(str, shape)) if shape else '()'}{kind})"


def _returning(lines: list[str], value: str) -> list[str]:
    """A body that gives a value; what only named it is given itself."""
    named = f"{value} = "
    if lines and lines[-1].startswith(named):
        return [*lines[:-1], f"return {lines[-1].removeprefix(named)}"]
    return [*lines, f"return {value}"]


def _call(name: str, given: Sequence[str], brackets: str = "") -> str:
    """A call on one line, or with a line each where it is long."""
    start, end = (f"{name}({brackets[:1]}", f"{brackets[1:]})")
    line = f"{start}{', '.join(given)}{end}"
    if len(line) <= _WIDTH - 24 and "\n" not in line:
        return line
    inside = "".join(f"{textwrap.indent(each, '    ')},\n" for each in given)
    return f"{start}\n{inside}{end}"


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(textwrap.indent(line, _BODY) for line in lines)


def _under(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _said(places: Sequence[str]) -> str:
    """What the docstring of a class says: where it is in the network."""
    if places[0] == "":
        return "The network."
    more = f" and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
    return f"{', '.join(places[:_SHOWN])}{more}."
