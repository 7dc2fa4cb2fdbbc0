"""What mkdocs asks while it builds the site: pages that are made, and pages made fit for it.

Made are the page of commands and options, from the command's own parser, and the page for those who
contribute. On all pages the title of a block of code is the file that it is, and what points out of
`docs/` is named in place of linked, as the site has no repository beside it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from mkdocs.structure.files import File, Files

from automl.cli.main import app
from automl.options import Option, SearchOptions, TaskOptions, options_of

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^```(\w+)((?: \S+)+)$", re.MULTILINE)
_OUTSIDE = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+[^)#]+)(?:#[^)]*)?\)")
_HEAD = """# Commands and options

Written from the command's own parser when this site is built. Flags of `automl search` are keys of
automl.toml and arguments of `automl.search` too: `--round-to` is `round_to`. `-q`, `--log-format`
and `--debug` may stand anywhere on a line ([At the terminal](../terminal.md)).
"""
_KEYS = """## Keys of automl.toml

They are the arguments of `automl.search` as well, with the types that stand here; a file may write
each as the command does.

| key | type | what it decides |
|---|---|---|"""


def on_files(files: Files, config: Any) -> Files:
    """The site's files with those that are made."""
    made = {"reference/options.md": options_page(), "reference/contributing.md": contributing()}
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """A page as the site shows it."""
    depth = page.file.src_uri.count("/")
    return _OUTSIDE.sub(lambda link: _named(link, depth), _FENCE.sub(_titled, markdown))


def _titled(fence: re.Match[str]) -> str:
    """The opening line of a block, with the file that it is as its title."""
    file = re.search(r"(?:file|elsewhere)=(\S+)", fence[2])
    return f"```{fence[1]}" + (f' title="{file[1]}"' if file else "")


def _named(link: re.Match[str], depth: int) -> str:
    """What points to a file outside of the pages: its path in the repository."""
    path = os.path.normpath(Path("docs", *["x"] * depth, link[2]))
    if path.startswith("docs/"):
        return link[0]
    text = link[1].strip("`")
    shown = f"`{path}`"
    return shown if text in (path, Path(path).name) else f"{link[1]} ({shown})"


def contributing() -> str:
    """The page for those who contribute, with links from where the site has it."""
    text = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return text.replace("(../docs/", "(../")


def options_page() -> str:
    """Every command with its flags."""
    group = typer.main.get_command(app)
    commands = (line for each in _commands(group, "automl") for line in each)
    known = (each for owner in (TaskOptions, SearchOptions) for each in options_of(owner))
    return "\n".join((_HEAD, *commands, _KEYS, *map(_key, known)))


def _commands(group: Any, name: str) -> Iterator[list[str]]:
    """The lines on each command of a group, those of groups inside with them."""
    for word in sorted(group.commands):
        command = group.commands[word]
        if hasattr(command, "commands"):
            yield from _commands(command, f"{name} {word}")
        else:
            yield _command(command, f"{name} {word}")


def _command(command: Any, name: str) -> list[str]:
    """A command: what it does, what it takes, in the order of its help."""
    told = (command.help or "").strip()
    arguments = [_argument(each) for each in command.params if _is_argument(each)]
    lines = [
        f"## {name}",
        "",
        told,
        "",
        "```text",
        " ".join((name, *arguments, "[OPTIONS]")),
        "```",
        "",
    ]
    flags = [each for each in command.params if not _is_argument(each)]
    if flags:
        lines += ["| option | what it decides |", "|---|---|", *map(_flag, flags), ""]
    return lines


def _is_argument(parameter: Any) -> bool:
    return parameter.param_type_name == "argument"


def _key(option: Option) -> str:
    return _row(f"`{option.name}`", f"`{option.annotation}`", option.described())


def _argument(argument: Any) -> str:
    shown = argument.metavar or argument.name.upper()
    return shown if argument.required or shown.startswith("[") else f"[{shown}]"


def _flag(flag: Any) -> str:
    written = ", ".join((*flag.opts, *flag.secondary_opts))
    metavar = "" if flag.is_flag or not flag.metavar else f" {flag.metavar}"
    return _row(f"`{written}{metavar}`", " ".join((flag.help or "").split()))


def _row(*cells: str) -> str:
    """A row of a table; bars in its cells are no borders."""
    shown = (each.replace("|", r"\|") for each in cells)
    return f"| {' | '.join(shown)} |"
