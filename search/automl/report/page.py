"""The page: one HTML file that holds its style, its scripts and its data, and asks for nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from automl.errors import StudyError, UsageError
from automl.files import write_whole

#: Scripts of the page, in their order; each uses names of those before.
_SCRIPTS: Final = ("text.js", "tables.js", "figures.js", "trials.js", "run.js", "sweep.js")
_MARK: Final = "<!-- {} -->"


def write_page(document: Mapping[str, Any], title: str, path: Path) -> int:
    """Write a page, whole or not at all.

    Args:
        document: JSON values: "runs" and "sweeps".
        title: Of the page.
        path: Where it goes.

    Returns:
        Its size in bytes.

    Raises:
        UsageError: plotly is not installed.
        StudyError: The file cannot be written.
    """
    content = make_page(document, title).encode()
    try:
        write_whole(path, content)
    except OSError as error:
        raise StudyError(f"{path} cannot be written: {error.strerror}", options=("out",)) from error
    return len(content)


def make_page(document: Mapping[str, Any], title: str) -> str:
    """The text of a page.

    Raises:
        UsageError: plotly is not installed.
    """
    scripts = "\n".join(_asset(name) for name in _SCRIPTS)
    parts = {
        "title": escape(title),
        "style": _asset("style.css"),
        "data": in_script(document),
        "scripts": scripts,
        "plotly": plotly_script(),
        "draw": _asset("draw.js"),
    }
    page = _asset("page.html")
    made = list[str]()
    for piece in page.split("<!-- "):
        name, closed, rest = piece.partition(" -->")
        made.append(parts[name] + rest if closed and name in parts else piece)
    return "".join(made)


def in_script(document: object) -> str:
    """JSON that may stand in a script element: no text in it can end the element."""
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def plotly_script() -> str:
    """Plotly's script, of the installed package; that itself is not imported.

    Raises:
        UsageError: It is not installed.
    """
    found = find_spec("plotly")
    places = found.submodule_search_locations if found is not None else None
    path = Path(next(iter(places or ()), "")) / "package_data" / "plotly.min.js"
    if not path.is_file():
        raise UsageError("the figures of a report are drawn by plotly: pip install plotly")
    return path.read_text(encoding="utf-8").replace("</script", "<\\/script")


def _asset(name: str) -> str:
    return (files("automl.report") / "assets" / name).read_text(encoding="utf-8")
