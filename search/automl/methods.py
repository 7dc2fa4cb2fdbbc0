"""The one registry of all that is chosen by name.

Another package adds a method with an entry point in the group "automl.KIND" ("automl.agents") whose
value is what makes it. Its summary is the first line of the docstring. A method of another package
that fails to load is named with its package, and the rest goes on; ours cannot be replaced.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Final, Generic, TypeVar, cast

from automl.errors import Raised, UnknownNameError, UsageError, attempt

T = TypeVar("T")

#: What a method can need beside the model, and how it is said.
NEEDS: Final[Mapping[str, str]] = {
    "data": "calibration inputs",
    "labels": "targets with the data",
    "classes": "targets that are class indices",
    "gradients": "a loss that can be differentiated",
    "original-norms": "batch norms from before they are folded",
    "relus": "ReLUs before what reads channels",
    "maxout": "maxima over pieces of units",
    "initial-weights": "the weights from before training",
    "training-data": "the training data",
    "sensitivity": "the measured sensitivity of each choice",
}


@dataclass(frozen=True, slots=True)
class Method:
    """Something that can be asked for by name.

    Attributes:
        name: As it is written.
        summary: What it does, in two lines at most.
        paper: Where it comes from.
        maker: "module:name" of what makes it.
        needs: Of `NEEDS`, what has to be there before it can work.
        package: Who brings it.
        fault: Why it cannot be used, where its package fails to load; "" otherwise.
        details: What the kind says of it beside, such as an agent's own number of trials.
    """

    name: str
    summary: str
    paper: str
    maker: str
    needs: frozenset[str] = frozenset()
    package: str = "automl"
    fault: str = ""
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Choice:
    """A method with the options that were asked for beside its name."""

    name: str
    options: Mapping[str, bool | int | float | str] = field(default_factory=dict)


def parse_choice(text: str) -> Choice:
    """A method as it is written: "second-order" or "second-order:ranges=max,correct_bias=false".

    Raises:
        UsageError: No name, or an option that is not written KEY=VALUE.
    """
    name, colon, rest = text.partition(":")
    options: dict[str, bool | int | float | str] = {}
    for part in rest.split(",") if colon else ():
        key, equals, value = part.strip().partition("=")
        if not (key.isidentifier() and equals and value):
            raise UsageError(f"{text!r}: {part!r} is no option: write NAME:KEY=VALUE,KEY=VALUE")
        options[key] = _value(value)
    if not name:
        raise UsageError(f"{text!r} names no method: write NAME or NAME:KEY=VALUE")
    return Choice(name, options)


def _value(text: str) -> bool | int | float | str:
    if text in ("true", "false"):
        return text == "true"
    with suppress(ValueError):
        return int(text)
    with suppress(ValueError):
        return float(text)
    return text


class Registry(Generic[T]):
    """The methods of one kind by name, ours and those that other packages add.

    Args:
        kind: In the plural, as in `automl methods KIND`.
        methods: Ours, in the order in which they are listed.
        noun: One of them, for messages; the kind without its last letter where it is not given.
    """

    def __init__(self, kind: str, methods: Iterable[Method], noun: str = "") -> None:
        self.kind = kind
        self.noun = noun or kind.removesuffix("s")
        self._ours = {method.name: method for method in methods}

    @property
    def group(self) -> str:
        """The group of entry points in which other packages add theirs."""
        return f"automl.{self.kind}"

    @contextmanager
    def including(self, method: Method) -> Iterator[None]:
        """Have one method more for a while: one of a test, or of a notebook.

        Raises:
            UsageError: Its name is taken.
        """
        if method.name in self.names():
            raise UsageError(f"there is a {self.noun} {method.name!r} already")
        self._ours[method.name] = method
        try:
            yield
        finally:
            del self._ours[method.name]

    @property
    def ours(self) -> Mapping[str, Method]:
        """The methods that come with automl."""
        return self._ours

    @cached_property
    def _added(self) -> dict[str, EntryPoint]:
        points = entry_points(group=self.group)
        return {point.name: point for point in points if point.name not in self._ours}

    def names(self) -> tuple[str, ...]:
        """All names: ours first, then those of other packages in alphabetical order."""
        return (*self._ours, *sorted(self._added))

    def describe(self) -> tuple[Method, ...]:
        """All methods in the order of `names`; those of other packages are loaded for it."""
        return (*self._ours.values(), *(_described(self._added[each]) for each in self._others()))

    def _others(self) -> list[str]:
        return sorted(self._added)

    def get(self, name: str) -> Method:
        """The method of that name.

        Raises:
            UnknownNameError: There is none; names the nearest.
        """
        if name in self._ours:
            return self._ours[name]
        if name not in self._added:
            raise UnknownNameError(self.noun, name, self.names())
        return _described(self._added[name])

    def load(self, name: str) -> Callable[..., T]:
        """What makes the method of that name.

        Raises:
            UsageError: There is none, or its package fails to load it.
        """
        method = self.get(name)
        if method.fault:
            raise UsageError(
                f"{self.noun} {name!r} of {method.package} cannot be used: {method.fault}"
            )
        module, _, attribute = method.maker.partition(":")
        return cast(Callable[..., T], getattr(import_module(module), attribute))

    def make(self, name: str, *arguments: object, **options: object) -> T:
        """The method of that name, made.

        Raises:
            UsageError: As `load`.
            AutomlError: What the method itself refuses.
        """
        return self.load(name)(*arguments, **options)

    def build(self, text: str, *arguments: object) -> T:
        """The method of a text such as "second-order:ranges=max", made with its options.

        Raises:
            UsageError: As `check`; an option whose value the method refuses.
        """
        choice = self.check(text)
        return self.make(choice.name, *arguments, **choice.options)

    def check(self, text: str) -> Choice:
        """What a text names; the method is loaded only where options stand behind its name.

        Raises:
            UsageError: As `parse_choice`, `get` and `load`; an option that the method does not take
                (names the nearest).
        """
        choice = parse_choice(text)
        self.get(choice.name)
        known = inspect.signature(self.load(choice.name)).parameters if choice.options else ()
        for key in choice.options:
            if key not in known:
                raise UnknownNameError(f"option of {self.noun} {choice.name}", key, known)
        return choice

    def takes(self, name: str, option: str) -> bool:
        """Whether the method of that name is made with an option of that name.

        Raises:
            UsageError: As `load`.
        """
        return option in inspect.signature(self.load(name)).parameters


def _described(point: EntryPoint) -> Method:
    """A method of another package, as its docstring tells it."""
    package = point.dist.name if point.dist is not None else point.module.partition(".")[0]
    loaded = attempt(point.load)
    if isinstance(loaded, Raised):
        summary, fault = f"Added by {package}.", str(loaded)
    else:
        lines = (inspect.getdoc(loaded) or "").strip().splitlines()
        summary, fault = lines[0] if lines else f"Added by {package}.", ""
    paper = f"see {package}"
    return Method(point.name, summary, paper, point.value, package=package, fault=fault)


#: Every registry by its kind: "module:name". A new kind of methods is one line here.
REGISTRIES: Final[Mapping[str, str]] = {
    "agents": "automl.agents.registry:AGENTS",
    "blocks": "automl.compression.blocks.registry:BLOCKS",
    "forms": "automl.compression.forms.registry:FORMS",
    "hooks": "automl.recovery.hooks.registry:HOOKS",
    "importances": "automl.compression.importance.registry:IMPORTANCES",
    "kinds": "automl.space.registry:KINDS",
    "quantizers": "automl.compression.quantization.registry:QUANTIZERS",
    "reconstructions": "automl.compression.reconstruction.registry:RECONSTRUCTIONS",
    "runtimes": "automl.profiling.runtimes:RUNTIMES",
    "starts": "automl.recovery.starts.registry:STARTS",
    "terms": "automl.recovery.terms.registry:TERMS",
    "trained-quantizers": "automl.recovery.quantizers.registry:TRAINED_QUANTIZERS",
}


def registry(kind: str) -> Registry[object]:
    """The registry of a kind.

    Raises:
        UnknownNameError: There is no such kind; names the nearest.
    """
    if kind not in REGISTRIES:
        raise UnknownNameError("kind of methods", kind, REGISTRIES)
    module, _, attribute = REGISTRIES[kind].partition(":")
    return cast(Registry[object], getattr(import_module(module), attribute))


@dataclass(frozen=True, slots=True)
class FieldMethod:
    """A method that the literature names, and where it lives here.

    Attributes:
        number: In the list.
        name: The field's.
        family: What kind of compression it is.
        published: Year and place; "" where it is common knowledge.
        by: Methods of the registries that do it: "forms/taps". One that is in none is to come.
        where: What of it lives elsewhere; "" for nothing.
        cannot: Why it cannot be had; "" where it can.
    """

    number: int
    name: str
    family: str
    published: str = ""
    by: tuple[str, ...] = ()
    where: str = ""
    cannot: str = ""

    @property
    def there(self) -> tuple[str, ...]:
        """Those of `by` that the registries have."""
        kinds = {each.partition("/")[0] for each in self.by} & REGISTRIES.keys()
        ours = {f"{kind}/{name}" for kind in kinds for name in registry(kind).ours}
        return tuple(each for each in self.by if each in ours)

    @property
    def state(self) -> str:
        """ "works", "in part", "not yet", or "cannot"."""
        if self.cannot:
            return "cannot"
        if len(self.there) == len(self.by):
            return "works"
        return "in part" if self.there or self.where else "not yet"


def field_methods() -> tuple[FieldMethod, ...]:
    """The methods of the field that this project set out to have, in their order."""
    import tomllib

    text = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
    read = tomllib.loads(text)["method"]
    return tuple(FieldMethod(**{**each, "by": tuple(each.get("by", ()))}) for each in read)
