"""Kinds by name: made once, and what is none refused."""

from __future__ import annotations

import pytest

from automl.errors import SpaceError
from automl.methods import Method, registry
from automl.policy.policy import Policy
from automl.space import KINDS, further_choices, kind_of
from automl.testing import MADE_UP
from toy_kind import known


def test_all_kinds_are_named_as_they_are_registered() -> None:
    assert KINDS.names()[:4] == ("resolution", "block", "channels", "bits")
    assert [kind_of(name).name for name in KINDS.names()] == list(KINDS.names())
    assert registry("kinds") is KINDS


def test_a_kind_is_made_once_and_by_what_makes_it() -> None:
    assert kind_of("bits") is kind_of("bits")
    with KINDS.including(MADE_UP):
        before = kind_of("made-up")
    other = Method("made-up", "", "", "toy_kind:TaperKind")
    with KINDS.including(other):
        assert type(kind_of("made-up")) is not type(before)


def test_an_unknown_kind_is_named_with_the_nearest() -> None:
    with pytest.raises(SpaceError, match=r"^no kind of choice 'chanels' \(did you mean channels"):
        kind_of("chanels")


def test_further_choices_are_read_by_their_kinds() -> None:
    with known():
        policy = Policy({"a": 1}, further={"taper": {"mix": "rank 4", "stem": "dense"}})
        found = [(kind.name, part, option) for kind, part, option in further_choices(policy)]
        assert found == [("taper", "mix", 4), ("taper", "stem", None)]
        with pytest.raises(SpaceError, match="taper: 'rang' is no rank"):
            list(further_choices(Policy(further={"taper": {"mix": "rang"}})))
