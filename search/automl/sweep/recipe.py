"""Recipes: which searches a sweep is made of, and how they are spread over a cluster."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from automl.documents import fault_of, read_toml, shown
from automl.errors import AutomlError, OptionError, UsageError, nearest
from automl.example import EXAMPLES, find_example
from automl.options import Option, SearchOptions, TaskOptions, make_options, options_of
from automl.pipeline import check_single

#: Searches that a recipe may ask for without saying so.
MOST_SEARCHES: Final = 10_000
#: Options that the sweep itself decides: its searches are what is done at a time.
_OWN: Final = frozenset({"out", "resume", "workers", "ray"})
#: Options that a recipe may name.
KNOWN: Final[dict[str, Option]] = {
    each.name: each
    for owner in (TaskOptions, SearchOptions)
    for each in options_of(owner)
    if each.name not in _OWN
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RaySettings(_Strict):
    """How a sweep is spread over a cluster.

    Attributes:
        cpus, gpus: Of one search.
        concurrency: Most searches at a time; None for as many as there is room for.
        retries: How often a search is started again that its machine or process left in the middle.
        scheduler: What ends hopeless searches early: nothing, the median or ASHA, by the best score
            so far among searches that differ in agent, seed and effort alone.
        grace: Policies that every search may score before it can be ended.
        reuse_actors: Whether one process does several searches, one after another.
    """

    cpus: float = Field(default=1.0, gt=0)
    gpus: float = Field(default=0.0, ge=0)
    concurrency: int | None = Field(default=None, ge=1)
    retries: int = Field(default=2, ge=0)
    scheduler: Literal["off", "median", "asha"] = "off"
    grace: int = Field(default=16, ge=1)
    reuse_actors: bool = True


class RecipeFile(_Strict):
    """A recipe as it is written: every case with every combination of the grid.

    Attributes:
        name: What the sweep is called; None for the name of the file.
        out: Folder of the results, or an address that pyarrow knows.
        most_searches: Refuse to start more.
        common: Options of all searches.
        grid: Per option, a list of values.
        cases: Options of one case each, with its "name".
        ray: How it is spread over a cluster.
    """

    name: str | None = None
    out: str | None = None
    most_searches: int = Field(default=MOST_SEARCHES, ge=1)
    common: dict[str, Any] = {}
    grid: dict[str, list[Any]] = {}
    cases: list[dict[str, Any]] = []
    ray: RaySettings = RaySettings()


@dataclass(frozen=True, slots=True)
class Case:
    """One search of a sweep.

    Attributes:
        name: Its folder's, and its row's.
        values: Options by name as they are written, paths absolute: plain JSON.
    """

    name: str
    values: Mapping[str, Any]

    @property
    def task(self) -> TaskOptions:
        """What is compressed."""
        names = {each.name for each in options_of(TaskOptions)}
        return make_options(TaskOptions, {k: v for k, v in self.values.items() if k in names})

    @property
    def search(self) -> SearchOptions:
        """How it is searched."""
        names = {each.name for each in options_of(SearchOptions)}
        return make_options(SearchOptions, {k: v for k, v in self.values.items() if k in names})


@dataclass(frozen=True, slots=True)
class Recipe:
    """A sweep to run.

    Attributes:
        name: What it is called.
        cases: The searches; those that share most stand beside each other.
        out: Folder of the results, or an address.
        ray: How it is spread over a cluster.
    """

    name: str
    cases: tuple[Case, ...]
    out: str
    ray: RaySettings


def read_recipe(path: Path) -> Recipe:
    """The sweep that a TOML file describes. Its relative paths start at its folder.

    Raises:
        UsageError: No such file, not TOML, an unknown key (with the nearest), one that is given
            twice, or more searches than it says there may be.
        OptionError: A value of the wrong kind, or values that exclude each other; names the case.
    """
    written, _ = read_toml(path, UsageError, "recipe")
    return make_recipe(written, name=path.stem, folder=path.parent.resolve(), place=str(path))


def make_recipe(
    written: Mapping[str, Any], *, name: str = "sweep", folder: Path, place: str = "recipe"
) -> Recipe:
    """The sweep of a recipe's content.

    Args:
        written: As TOML gives it.
        name: Where it has none of its own.
        folder: Where its relative paths start.
        place: What to call it in errors.

    Raises:
        UsageError, OptionError: As `read_recipe`.
    """
    try:
        file = RecipeFile.model_validate(written)
    except ValidationError as error:
        raise UsageError(f"{place}: {_fault(error)}") from None
    _check_keys(file, place)
    count = max(len(file.cases), 1) * prod(len(values) for values in file.grid.values())
    if count > file.most_searches:
        raise UsageError(
            f"{place}: asks for {count:,} searches, over the {file.most_searches:,} that it may: "
            f"most_searches = {count} allows them"
        )
    cases = sorted(_cases(file, folder, place), key=lambda each: _closeness(each.values))
    title = file.name or name
    out = file.out or (Path.cwd() / "runs" / _slug(title)).as_posix()
    kept = out if "://" in out else (folder / out).as_posix()
    return Recipe(title, tuple(cases), kept, file.ray)


def _fault(error: ValidationError) -> str:
    """The first fault in words; an unknown key with the nearest."""
    found = error.errors(include_url=False)[0]
    *tables, last = found["loc"]
    if found["type"] != "extra_forbidden":
        return fault_of(error)
    known = RaySettings.model_fields if tables == ["ray"] else RecipeFile.model_fields
    inside = f" in {'.'.join(map(str, tables))}" if tables else ""
    return f"unknown key {shown(str(last))}{inside}{nearest(str(last), known)}"


def _check_keys(file: RecipeFile, place: str) -> None:
    tables = {"common": file.common, "grid": file.grid}
    tables |= {f"cases {number}": each for number, each in enumerate(file.cases, 1)}
    for title, table in tables.items():
        for key in table.keys() - ({"name"} if title.startswith("cases") else set()):
            if key in _OWN:
                raise UsageError(f"{place}, {title}: {key!r} is the sweep's own to decide")
            if key not in KNOWN:
                raise UsageError(f"{place}, {title}: unknown key {shown(key)}{nearest(key, KNOWN)}")
        if title not in ("common", "grid"):
            twice = sorted(table.keys() & file.grid.keys())
            if twice:
                raise UsageError(f"{place}, {title}: {twice[0]!r} is in the grid already")
    for key, values in file.grid.items():
        if not values:
            raise UsageError(f"{place}, grid: {key!r} has no values")
    names = [each.get("name") for each in file.cases]
    for number, name in enumerate(names, 1):
        if not isinstance(name, str) or not _slug(name):
            raise UsageError(f"{place}, cases {number}: a case needs a name")
        if names.count(name) > 1:
            raise UsageError(f"{place}: two cases are called {shown(name)}")


def _cases(file: RecipeFile, folder: Path, place: str) -> Iterator[Case]:
    varied = [key for key, values in file.grid.items() if len(values) > 1]
    seen: set[str] = set()
    for given in file.cases or [{}]:
        for combination in product(*file.grid.values()):
            chosen = dict(zip(file.grid, combination, strict=True))
            own = {key: value for key, value in given.items() if key != "name"}
            values = _with_example(file.common | own | chosen, place)
            words = [given.get("name", ""), *(_word(key, chosen[key]) for key in varied)]
            name, digest = (
                "-".join(_slug(word) for word in words if word) or "search",
                _digest(values),
            )
            if digest in seen:
                raise UsageError(f"{place}: {name} is asked for twice")
            if name in seen:
                name += f"-{digest}"
            seen |= {name, digest}
            yield _checked(Case(name, _absolute(values, folder)), place)


def _with_example(values: dict[str, Any], place: str) -> dict[str, Any]:
    """The options, what an example says among them where no model is named: the usual one.

    Which budget bites is not asked: searches of several devices are of one network.
    """
    if "model" in values:
        if "example" in values:
            raise UsageError(f"{place}: names a model and an example: one of them is compressed")
        return values
    name = KNOWN["example"].checked(values.get("example", EXAMPLES[0].name), f"{place}: example")
    others = {key: value for key, value in values.items() if key != "example"}
    return find_example(str(name)).values | others


def _checked(case: Case, place: str) -> Case:
    """The case, its options known to be possible."""
    try:
        for key, value in case.values.items():
            KNOWN[key].checked(value)
        task, search = case.task, case.search
        check_single(search)
        if task.model is not None and task.data is None:
            raise OptionError("data", f"the model {task.model} needs some")
    except OptionError as error:
        where = f"{place}, {case.name}: {error.option}"
        raise OptionError(error.option, error.reason, where, options=error.options) from None
    except AutomlError as error:
        raise UsageError(f"{place}, {case.name}: {error}") from None
    return case


def _absolute(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Files from the recipe's folder on: workers have working folders of their own."""
    found = dict(values)
    for key, value in values.items():
        if not isinstance(value, str):
            continue
        is_file = key == "weights" or ".py:" in value
        if is_file or (key == "target" and os.path.isfile(folder / value)):
            found[key] = str(folder / value)
    return found


def _closeness(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Searches that share a context are equal in the first of these."""
    order = ("model", "weights", "data", "score", "calibration", "seed", "target", "budget")
    return tuple(json.dumps(values.get(key), default=str) for key in order)


def _word(key: str, value: object) -> str:
    text = "+".join(map(str, value)) if isinstance(value, list) else str(value)
    if key == "target":
        return Path(text).stem if text.endswith(".jsonl") else text
    if key in ("model", "data", "score"):
        return text.rpartition(":")[2]
    return text if key in ("budget", "agent", "precisions", "example") else f"{key}-{text}"


def _slug(text: str) -> str:
    words = text.replace("%", "pct").replace("µ", "u")
    return re.sub(r"[^A-Za-z0-9.+_]+", "-", words).strip("-.")


def _digest(values: Mapping[str, Any]) -> str:
    written = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(written.encode()).hexdigest()[:8]
