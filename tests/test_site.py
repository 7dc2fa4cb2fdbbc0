"""The site builds without a warning, every link in it arrives, and it asks no network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import typer

from automl.cli.main import app
from automl.options import SearchOptions, TaskOptions, options_of

ROOT = Path(__file__).resolve().parents[1]
#: Pages that users look for.
PAGES = (
    *("start", "own", "data", "device", "budgets", "choices", "agents", "methods", "cluster"),
    *("recovery", "delivery", "trust", "reference/options", "reference/python"),
)
#: What a page may load; what it links to may be anywhere.
LOADED = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src"}
#: Relations of a link element by which a browser loads nothing.
NOT_LOADED = {"canonical", "next", "prev"}


class Read(HTMLParser):
    """What a page links to, loads and can be linked at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in LOADED and LOADED[tag] in given and given.get("rel") not in NOT_LOADED:
            self.loaded.append(given[LOADED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    environment = os.environ | {"PYTHONPATH": str(ROOT / "search"), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", folder],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Read]:
    return {path: Read(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_there_is_a_page_for_each_thing(site: Path) -> None:
    front = Read((site / "index.html").read_text(encoding="utf-8"))
    for page in PAGES:
        assert (site / f"{page}.html").is_file()
        assert f"{page}.html" in front.links


def test_every_link_arrives(site: Path, pages: dict[Path, Read]) -> None:
    lost = []
    for path, page in pages.items():
        if path.name == "404.html":  # its links start at the root of wherever the site is
            continue
        for link in (*page.links, *page.loaded):
            to = urlsplit(link)
            if to.scheme or to.netloc:
                continue
            found = (path.parent / unquote(to.path)).resolve() if to.path else path
            if not found.is_file() or (
                to.fragment
                and found.suffix == ".html"
                and unquote(to.fragment) not in pages[found].anchors | {"__skip"}
            ):
                lost.append(f"{path.relative_to(site)}: {link}")
    assert lost == []
    assert sum(len(page.links) for page in pages.values()) > 1000


def test_nothing_is_loaded_from_elsewhere(pages: dict[Path, Read]) -> None:
    for path, page in pages.items():
        assert [each for each in page.loaded if urlsplit(each).netloc] == [], path


def test_no_block_of_code_is_shown_raw(site: Path) -> None:
    for path in site.rglob("*.html"):
        assert "```" not in path.read_text(encoding="utf-8"), path


def commands(group: typer.core.TyperGroup, name: str) -> Iterator[tuple[str, list[str]]]:
    for word, command in group.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            yield from commands(command, f"{name} {word}")
        else:
            yield f"{name} {word}", [flag for each in command.params for flag in each.opts]


def test_the_reference_has_every_command_and_every_option(site: Path) -> None:
    text = (site / "reference" / "options.html").read_text(encoding="utf-8")
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    for name, flags in commands(group, "automl"):
        (part,) = re.findall(rf"<h2 [^>]*>{name}<.*?(?=<h2|</article>)", text, re.DOTALL)
        for flag in flags:
            assert not flag.startswith("--") or flag in part, (name, flag)


def test_the_reference_has_every_key(site: Path) -> None:
    text = (site / "reference" / "options.html").read_text(encoding="utf-8")
    for owner in (TaskOptions, SearchOptions):
        for each in options_of(owner):
            assert f"<td><code>{each.name}</code></td>" in text


@pytest.mark.parametrize("name", ["search", "apply", "SearchResult", "PolicyFile", "AutomlError"])
def test_the_reference_has_what_docstrings_say(site: Path, name: str) -> None:
    text = (site / "reference" / "python.html").read_text(encoding="utf-8")
    assert re.search(rf'<h3 id="automl\.[\w.]*\b{name}"', text)


#: Headings as GitHub makes anchors of them.
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(text: str) -> set[str]:
    plain = (re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", each) for each in HEADING.findall(text))
    return {re.sub(r"[^\w\- ]", "", each.strip().lower()).replace(" ", "-") for each in plain}


@pytest.mark.parametrize(
    "document",
    [
        "README.md",
        ".github/CONTRIBUTING.md",
        *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*.md"))),
        *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "examples").glob("*/*.md"))),
    ],
)
def test_links_arrive_where_documents_are_read_as_files(document: str) -> None:
    path = ROOT / document
    lost = []
    for link in LINK.findall(FENCED.sub("", path.read_text(encoding="utf-8"))):
        to = urlsplit(link)
        if to.scheme:
            continue
        found = (path.parent / unquote(to.path)).resolve() if to.path else path
        if document.startswith("docs/") and link.startswith("reference/"):
            continue  # made when the site is built, where these are checked
        if not found.exists():
            lost.append(link)
        elif to.fragment and found.suffix == ".md":
            text = FENCED.sub("", found.read_text(encoding="utf-8"))
            lost += [link] if to.fragment not in anchors(text) else []
    assert lost == []
