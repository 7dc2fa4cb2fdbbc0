"""A policy is frozen, pickles, and hashes over all of it."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from automl.errors import PolicyError
from automl.policy.policy import Bits, Policy

FULL = Policy(
    {"stem": 8}, frozenset({"block"}), 16, {"mix": Bits(8, 4)}, {"rank": {"mix": "4", "stem": "2"}}
)


def but(**changes: object) -> Policy:
    return dataclasses.replace(FULL, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "other",
    [
        but(channels={"stem": 7}),
        but(channels={"stam": 8}),
        but(removed=frozenset()),
        but(resolution=0),
        but(bits={"mix": Bits(4, 8)}),
        but(bits={"mox": Bits(8, 4)}),
        but(bits={}),
        but(further={}),
        but(further={"rank": {"mix": "4"}}),
        but(further={"rank": {"mix": "2", "stem": "4"}}),
        but(further={"taps": {"mix": "4", "stem": "2"}}),
    ],
)
def test_another_policy_hashes_otherwise(other: Policy) -> None:
    assert other != FULL
    assert hash(other) != hash(FULL)


def test_policies_that_differ_in_bits_alone_do_not_collide() -> None:
    policies = [
        Policy(bits={"a": Bits(w, x), "b": Bits(x, w)}) for w in range(2, 9) for x in range(2, 9)
    ]
    assert len({hash(policy) for policy in policies}) == len(policies)


def test_the_same_choices_in_another_order_are_the_same_policy() -> None:
    one = Policy({"a": 1, "b": 2}, bits={"x": Bits(8, 8), "y": Bits(4, 4)})
    other = Policy({"b": 2, "a": 1}, bits={"y": Bits(4, 4), "x": Bits(8, 8)})
    assert one == other
    assert hash(one) == hash(other)


def test_it_pickles() -> None:
    copy = pickle.loads(pickle.dumps(FULL))
    assert copy == FULL
    assert hash(copy) == hash(FULL)


def test_its_choices_cannot_be_changed() -> None:
    source = {"stem": 8}
    policy = Policy(source)
    source["stem"] = 4
    assert policy.channels["stem"] == 8
    with pytest.raises(TypeError):
        policy.channels["stem"] = 4  # type: ignore[index]
    further = {"rank": {"mix": "4"}}
    policy = Policy(further=further)
    further["rank"]["mix"] = "8"
    assert policy.further["rank"]["mix"] == "4"
    with pytest.raises(TypeError):
        policy.further["rank"]["mix"] = "8"  # type: ignore[index]


def test_a_kind_without_a_choice_says_nothing() -> None:
    assert Policy(further={"rank": {}}) == Policy()


def test_a_kind_that_has_a_field_is_no_further_one() -> None:
    with pytest.raises(PolicyError, match="'bits' is no further kind: a policy has a field for it"):
        Policy(further={"bits": {"mix": "w8a8"}})


def test_choices_of_two_policies_are_joined_and_the_later_one_wins() -> None:
    one = Policy({"a": 1}, frozenset({"x"}), 16, {"l": Bits(8, 8)}, {"rank": {"m": "1", "n": "1"}})
    other = Policy({"b": 2}, frozenset({"y"}), 0, {"l": Bits(4, 4)}, {"rank": {"m": "2"}})
    both = one | other
    assert both.channels == {"a": 1, "b": 2}
    assert both.removed == {"x", "y"}
    assert both.resolution == 16
    assert both.bits == {"l": Bits(4, 4)}
    assert both.further == {"rank": {"m": "2", "n": "1"}}
