"""The one registry: names, other packages' methods, and those that fail to load."""

from __future__ import annotations

import re
from importlib.metadata import EntryPoint

import pytest

from automl import methods
from automl.errors import UsageError
from automl.methods import (
    NEEDS,
    REGISTRIES,
    FieldMethod,
    Method,
    Registry,
    field_methods,
    registry,
)


def made(text: str = "", *, loud: bool = False) -> str:
    """What a method of this file is made by.

    And what its second paragraph says, nobody lists.
    """
    return text.upper() if loud else text


OURS = (
    Method("plain", "Says it.", "nobody, 2026", f"{__name__}:made"),
    Method("fancy", "Says it well.", "nobody, 2026", f"{__name__}:made", frozenset({"data"})),
)


@pytest.fixture
def sayings(monkeypatch: pytest.MonkeyPatch) -> Registry[str]:
    """Two methods of ours, and what an environment adds: one good, one broken, one impostor."""
    points = [
        EntryPoint("theirs", "json:dumps", "automl.sayings"),
        EntryPoint("broken", "no_such_package.inside:made", "automl.sayings"),
        EntryPoint("plain", "json:dumps", "automl.sayings"),
    ]
    monkeypatch.setattr(methods, "entry_points", lambda group: points)
    return Registry("sayings", OURS)


def test_ours_come_first_and_cannot_be_replaced(sayings: Registry[str]) -> None:
    assert sayings.names() == ("plain", "fancy", "broken", "theirs")
    assert sayings.get("plain").package == "automl"


def test_a_method_of_another_package_is_described_by_its_docstring(sayings: Registry[str]) -> None:
    theirs = sayings.describe()[-1]
    assert (theirs.name, theirs.package, theirs.fault) == ("theirs", "json", "")
    assert theirs.summary.startswith("Serialize")
    assert sayings.make("theirs", [1]) == "[1]"


def test_one_that_fails_to_load_is_named_with_its_package_and_the_rest_goes_on(
    sayings: Registry[str],
) -> None:
    broken = sayings.get("broken")
    assert broken.package == "no_such_package"
    assert "no_such_package" in broken.fault
    with pytest.raises(UsageError, match="saying 'broken' of no_such_package cannot be used: "):
        sayings.make("broken")
    assert len(sayings.describe()) == 4


def test_an_unknown_name_is_answered_with_the_nearest(sayings: Registry[str]) -> None:
    with pytest.raises(UsageError, match=r"no saying 'fency' \(did you mean fancy\?\)"):
        sayings.load("fency")
    with pytest.raises(UsageError, match=r"no kind of methods 'agent'.*agents"):
        registry("agent")


def test_every_kind_has_a_registry_whose_methods_load_and_need_what_is_known() -> None:
    for kind in REGISTRIES:
        found = registry(kind)
        assert found.kind == kind
        for method in found.ours.values():
            assert callable(found.load(method.name))
            assert method.needs <= NEEDS.keys()
            assert method.paper
            assert method.summary.count("\n") <= 1


def test_options_are_those_of_the_maker() -> None:
    agents = registry("agents")
    assert agents.takes("amc", "warm_start")
    assert not agents.takes("uniform", "warm_start")


def test_a_method_can_be_included_for_a_while(sayings: Registry[str]) -> None:
    mine = Method("mine", "Says mine.", "", f"{__name__}:made")
    with sayings.including(mine):
        assert sayings.names()[:3] == ("plain", "fancy", "mine")
        assert sayings.make("mine", "a") == "a"
    assert "mine" not in sayings.names()
    taken = Method("theirs", "", "", f"{__name__}:made")
    said = "there is a saying 'theirs' already"
    with pytest.raises(UsageError, match=said), sayings.including(taken):
        pass
    with pytest.raises(RuntimeError, match="in between"), sayings.including(mine):
        raise RuntimeError("in between")
    assert "mine" not in sayings.names()


def test_every_method_of_the_field_lives_somewhere_or_says_why_not() -> None:
    for each in field_methods():
        assert each.by or each.where or each.cannot, each.name
        assert not (each.cannot and (each.by or each.where)), each.name
        when = r"(19|20)\d\d( [A-Za-z]+(/\w+)?( Access)?)?"
        assert re.fullmatch(rf"({when}(, {when})*)?", each.published), each.name
        known = [name for name in each.by if name.partition("/")[0] in REGISTRIES]
        assert len(set(known)) == len(known)


def test_a_method_of_the_field_works_as_far_as_the_registries_have_it() -> None:
    def state(**values: object) -> str:
        return FieldMethod(1, "One", "family", **values).state

    assert state(by=("forms/taps", "kinds/form")) == "works"
    assert state(by=("forms/taps", "forms/tapz")) == "in part"
    assert state(by=("forms/tapz",)) == "not yet"
    assert state(by=("spells/any",), where="docs") == "in part"
    assert state(where="docs") == "works"
    assert state(cannot="no kernel") == "cannot"
