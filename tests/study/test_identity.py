"""A stored study says what it is of, and what differs is named."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from automl.study.identity import Identity

ONE = Identity("random", 0, "a" * 64, "b" * 64, "c" * 64, "d" * 64, "latency 0.01")


def test_the_same_differs_in_nothing() -> None:
    assert ONE.difference(asdict(ONE)) == ""


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"weights": "e" * 64}, "is of other weights (digest eeeeeeeeeeee, here aaaaaaaaaaaa)"),
        ({"data": "e" * 64}, "is of other data (digest eeeeeeeeeeee, here bbbbbbbbbbbb): a loader"),
        ({"prices": "e" * 64}, "is of other prices (digest eeeeeeeeeeee, here dddddddddddd): the"),
        ({"space": "e" * 64}, "is of other space"),
        ({"agent": "amc"}, "has another agent: 'amc', this search 'random'"),
        ({"compression": "x"}, "has another compression: 'x', this search ''"),
    ],
)
def test_what_differs_is_named(changes: dict[str, str], named: str) -> None:
    assert named in ONE.difference(asdict(replace(ONE, **changes)))


def test_the_cause_is_named_before_what_follows_from_it() -> None:
    """Other prices make another absolute budget of one in per cent."""
    found = replace(ONE, prices="e" * 64, budget="latency 0.02")
    assert "other prices" in ONE.difference(asdict(found))
    shuffled = replace(ONE, seed=1, data="e" * 64)
    assert "another seed" in ONE.difference(asdict(shuffled))


def test_a_record_of_an_earlier_version_says_so() -> None:
    old = {"agent": "random", "seed": 0, "budget": "latency 0.01", "version": 2}
    said = ONE.difference(old)
    assert "stored by another version of automl (record 2, this version's is 3)" in said
    assert "record 1" in ONE.difference({})
