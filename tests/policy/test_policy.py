"""A policy is frozen, pickles, and hashes over all of it."""

from __future__ import annotations

import pickle

import pytest

from automl.policy.policy import Bits, Policy

FULL = Policy({"stem": 8}, frozenset({"block"}), 16, {"mix": Bits(8, 4)})


@pytest.mark.parametrize(
    "other",
    [
        Policy({"stem": 7}, frozenset({"block"}), 16, {"mix": Bits(8, 4)}),
        Policy({"stam": 8}, frozenset({"block"}), 16, {"mix": Bits(8, 4)}),
        Policy({"stem": 8}, frozenset(), 16, {"mix": Bits(8, 4)}),
        Policy({"stem": 8}, frozenset({"block"}), 0, {"mix": Bits(8, 4)}),
        Policy({"stem": 8}, frozenset({"block"}), 16, {"mix": Bits(4, 8)}),
        Policy({"stem": 8}, frozenset({"block"}), 16, {"mox": Bits(8, 4)}),
        Policy({"stem": 8}, frozenset({"block"}), 16),
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
