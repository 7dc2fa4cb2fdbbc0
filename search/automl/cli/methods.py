"""`automl methods` and `automl agents`: all that is chosen by name."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Final

import typer

from automl.cli.flags import Json

if TYPE_CHECKING:
    from automl.methods import FieldMethod, Method

Kind = Annotated[
    str | None,
    typer.Argument(
        metavar="KIND",
        help="Of one kind, such as agents, or field for those that the literature names; else all.",
    ),
]
Markdown = Annotated[
    bool, typer.Option("--markdown", help="Print our own as the page docs/methods.md.")
]


_INDENT: Final = 4
#: The word for the methods that the literature names.
_FIELD: Final = "field"


def methods(kind: Kind = None, json: Json = False, markdown: Markdown = False) -> None:
    """List what can be chosen by name, ours and that of other packages."""
    from automl.cli import render
    from automl.methods import REGISTRIES, field_methods, registry

    kinds = [*REGISTRIES]
    if kind is not None:
        kinds = [] if kind == _FIELD else [registry(kind).kind]
    named = field_methods() if kind in (None, _FIELD) else ()
    if markdown:
        pages = [(each, [*registry(each).ours.values()]) for each in kinds]
        render.say("\n".join((*_page(pages), *_field_page(named))))
        return
    found = {each: registry(each).describe() for each in kinds}
    if json:
        every = {**found, **({_FIELD: [_stated(each) for each in named]} if named else {})}
        render.print_json(every if kind is None else every[kind])
        return
    for each, described in found.items():
        if kind is None:
            render.say(f"{each}:")
        _print_methods(described)
    if kind is None:
        render.say(f"{_FIELD}:")
    for method in named:
        render.say(f"{method.number}. {method.name}: {method.state}")
        for line in _where_lines(method):
            render.say(" " * _INDENT + line)
    render.say_next("automl search --target cpu --budget 50% --agent uniform")


def agents(json: Json = False) -> None:
    """List the agents that can search, with their papers."""
    methods("agents", json)


def _print_methods(found: Iterable[Method]) -> None:
    from automl.cli import render

    for method in found:
        render.say(method.name)
        render.say(textwrap.indent("\n".join(_lines(method)), " " * _INDENT))


def _lines(method: Method) -> Iterator[str]:
    from automl.cli.render import WIDTH

    if method.fault:
        yield f"cannot be used: {method.package} fails to load it"
        yield method.fault
        return
    yield from textwrap.wrap(" ".join(method.summary.split()), WIDTH - _INDENT)
    yield from textwrap.wrap(method.paper, WIDTH - _INDENT)
    if method.needs:
        yield from textwrap.wrap(_needs(method), WIDTH - _INDENT)
    if method.package != "automl":
        yield f"added by {method.package}"


def _needs(method: Method) -> str:
    from automl.methods import NEEDS

    return f"needs {' and '.join(NEEDS[each] for each in sorted(method.needs))}"


def _page(kinds: Iterable[tuple[str, Iterable[Method]]]) -> Iterator[str]:
    """The lines of docs/methods.md."""
    yield "# Methods"
    yield ""
    yield "All that is chosen by name, kind by kind. Written by `automl methods --markdown`; a test"
    yield "holds it to the registries. Another package adds a method with an entry point in the"
    yield "group `automl.KIND`, and `automl methods` then lists it too."
    for kind, found in kinds:
        yield from ("", f"## {kind}", "", "| name | what it does | where it comes from |")
        yield "|---|---|---|"
        for method in found:
            summary = " ".join(method.summary.split())
            needs = f" It {_needs(method)}." if method.needs else ""
            yield f"| `{method.name}` | {summary}{needs} | {method.paper} |"


def _stated(method: FieldMethod) -> dict[str, object]:
    """A method of the field as JSON has it."""
    from dataclasses import asdict

    return {**asdict(method), "there": method.there, "state": method.state}


def _where(method: FieldMethod) -> str:
    """Where a method of the field lives, or why it does not."""
    there = ", ".join(method.there)
    return "; ".join(filter(None, (there, method.where, method.cannot)))


def _where_lines(method: FieldMethod) -> Iterator[str]:
    from automl.cli.render import WIDTH

    for text in filter(None, (method.published, _where(method))):
        yield from textwrap.wrap(text, WIDTH - _INDENT)


def _field_page(found: Iterable[FieldMethod]) -> Iterator[str]:
    """The lines of docs/methods.md on what the literature names."""
    listed = [*found]
    if not listed:
        return
    count = Counter(method.state for method in listed)
    told = ", ".join(f"{count[state]} {state}" for state in count)
    yield from ("", f"## {_FIELD}", "")
    yield f"The {len(listed)} methods that this project set out to have: {told}."
    yield "A method works where all that it takes is in the registries above or where it is said."
    yield from ("", "| | method | family | published | state | where it lives, or why not |")
    yield "|---|---|---|---|---|---|"
    for each in listed:
        there = ", ".join(f"`{name}`" for name in each.there)
        where = "; ".join(filter(None, (there, each.where, each.cannot)))
        cells = (str(each.number), each.name, each.family, each.published, each.state, where)
        yield f"| {' | '.join(cells)} |"
