"""`automl methods` and `automl agents`: all that is chosen by name."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Final

import typer

from automl.cli.flags import Json

if TYPE_CHECKING:
    from automl.methods import Method

Kind = Annotated[
    str | None, typer.Argument(metavar="KIND", help="Of one kind, such as agents; else of all.")
]
Markdown = Annotated[
    bool, typer.Option("--markdown", help="Print our own as the page docs/methods.md.")
]


_INDENT: Final = 4


def methods(kind: Kind = None, json: Json = False, markdown: Markdown = False) -> None:
    """List what can be chosen by name, ours and that of other packages."""
    from automl.cli import render
    from automl.methods import REGISTRIES, registry

    kinds = [*REGISTRIES] if kind is None else [registry(kind).kind]
    if markdown:
        pages = [(each, [*registry(each).ours.values()]) for each in kinds]
        render.say("\n".join(_page(pages)))
        return
    found = {each: registry(each).describe() for each in kinds}
    if json:
        render.print_json(found if kind is None else found[kind])
        return
    for each, described in found.items():
        if kind is None:
            render.say(f"{each}:")
        _print_methods(described)
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
        yield _needs(method)
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
