"""Draw the packages as their imports order them: docs/architecture.svg.

    python search/recipes/draw_architecture.py

A package stands above all that it imports from. Lines are the imports that do not follow from
others: where a imports b and b imports c, the line from a to c is left out.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGE: Final = ROOT / "search" / "automl"
DRAWING: Final = ROOT / "docs" / "architecture.svg"

BOX: Final = (188, 62)
GAP: Final = (18, 34)
MARGIN: Final = 16

Graph = Mapping[str, frozenset[str]]


def parts() -> dict[str, list[Path]]:
    """Packages and root modules by name, with their files."""
    found: dict[str, list[Path]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = path.relative_to(PACKAGE).with_suffix("").parts
        if not inside[0].startswith("__"):
            found.setdefault(inside[0], []).append(path)
    return found


def import_graph() -> dict[str, frozenset[str]]:
    """Which part imports from which; lazy imports and those for types alone count."""
    files = parts()
    graph: dict[str, set[str]] = {name: set() for name in files}
    for name, paths in files.items():
        for path in paths:
            graph[name] |= {each for each in _imported(path) if each in files}
    return {name: frozenset(found - {name}) for name, found in graph.items()}


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or node.module is None:
            continue
        if node.module == "automl":
            yield from (alias.name for alias in node.names)
        elif node.module.startswith("automl."):
            yield node.module.split(".")[1]


def levels(graph: Graph) -> dict[str, int]:
    """The floor of each part: one above the highest that it imports from.

    Raises:
        ValueError: Parts import each other in a circle.
    """
    found: dict[str, int] = {}

    def level(name: str, above: tuple[str, ...]) -> int:
        if name in above:
            raise ValueError(f"a circle of imports: {' -> '.join((*above, name))}")
        if name not in found:
            below = [level(each, (*above, name)) for each in sorted(graph[name])]
            found[name] = max(below, default=-1) + 1
        return found[name]

    for name in sorted(graph):
        level(name, ())
    return found


def direct(graph: Graph) -> list[tuple[str, str]]:
    """The imports that do not follow from others."""

    def reached(name: str) -> frozenset[str]:
        return graph[name].union(*(reached(each) for each in graph[name]))

    return [
        (name, each)
        for name in sorted(graph)
        for each in sorted(graph[name])
        if not any(each in reached(other) for other in graph[name] - {each})
    ]


def summary(name: str) -> str:
    """The first sentence of a part's docstring."""
    path = PACKAGE / name / "__init__.py"
    path = path if path.is_file() else PACKAGE / f"{name}.py"
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def drawing() -> str:
    """The SVG, one row a floor, the ground at the bottom."""
    graph = import_graph()
    floor = levels(graph)
    top = max(floor.values())
    rows = [[name for name in sorted(floor) if floor[name] == top - row] for row in range(top + 1)]
    widest = max(map(len, rows))
    width = 2 * MARGIN + widest * BOX[0] + (widest - 1) * GAP[0]
    height = 2 * MARGIN + len(rows) * BOX[1] + (len(rows) - 1) * GAP[1]
    places: dict[str, tuple[float, float]] = {}
    for number, row in enumerate(rows):
        left = (width - len(row) * BOX[0] - (len(row) - 1) * GAP[0]) / 2
        for column, name in enumerate(row):
            places[name] = (
                left + column * (BOX[0] + GAP[0]),
                MARGIN + number * (BOX[1] + GAP[1]),
            )
    lines = [_line(places[above], places[below]) for above, below in direct(graph)]
    boxes = [_box(name, *places[name]) for name in sorted(places)]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'font-family="sans-serif">\n'
        "<title>The packages of automl; each stands above what it imports from</title>\n"
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>\n'
    )
    return head + "\n".join((*lines, *boxes)) + "\n</svg>\n"


def _line(above: tuple[float, float], below: tuple[float, float]) -> str:
    start, end = (above[0] + BOX[0] / 2, above[1] + BOX[1]), (below[0] + BOX[0] / 2, below[1])
    bend = (end[1] - start[1]) / 2
    curve = (
        f"M{start[0]:g} {start[1]:g} C{start[0]:g} {start[1] + bend:g} "
        f"{end[0]:g} {end[1] - bend:g} {end[0]:g} {end[1]:g}"
    )
    return f'<path d="{curve}" fill="none" stroke="#9aa5b1" stroke-width="1.2"/>'


def _box(name: str, left: float, top: float) -> str:
    is_package = (PACKAGE / name).is_dir()
    shown = f"{name}/" if is_package else f"{name}.py"
    fill = "#e6f0fa" if is_package else "#f4f1e8"
    words = _wrapped(summary(name), 34)
    text = "".join(
        f'<text x="{left + 8:g}" y="{top + 33 + 12 * row:g}" font-size="9.5" fill="#44505c">'
        f"{escape(line)}</text>"
        for row, line in enumerate(words)
    )
    return (
        f'<rect x="{left:g}" y="{top:g}" width="{BOX[0]}" height="{BOX[1]}" rx="5" '
        f'fill="{fill}" stroke="#5b7083"/>'
        f'<text x="{left + 8:g}" y="{top + 17:g}" font-size="13" font-weight="bold" '
        f'fill="#1f2d3a">{escape(shown)}</text>{text}'
    )


def _wrapped(text: str, columns: int) -> list[str]:
    """At most three lines of a summary."""
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) + 1 > columns:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines if len(lines) <= 3 else [*lines[:2], f"{lines[2][: columns - 1].rstrip()}…"]


if __name__ == "__main__":
    DRAWING.write_text(drawing(), encoding="utf-8")
    print(DRAWING)
