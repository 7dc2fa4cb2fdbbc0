"""Vectors and policies are each other's inverse, and what is no choice is refused."""

import itertools
import json
import pickle

import numpy as np
import pytest

from automl.errors import SpaceError
from automl.policy.policy import Bits, Policy
from automl.space import KINDS, Space, Variable
from automl.testing import MADE_UP, MadeUpKind


def small() -> Space:
    return Space(
        (
            Variable("resolution", "", (16, 32)),
            Variable("block", "b", (0, 1)),
            Variable("channels", "inner", (4, 8, 12)),
            Variable("channels", "outer", (2, 4)),
            Variable("bits", "conv", (Bits(8, 8), Bits(32, 32))),
        ),
        nested=((1, (2,)),),
    )


def with_merges() -> Space:
    """A block with two merges in a row inside, of which the first reaches beyond it."""
    return Space(
        (
            Variable("block", "b", (0, 1)),
            Variable("block", "c", (0, 1)),
            Variable("channels", "inner", (4, 8, 12)),
            Variable("channels", "outer", (2, 4)),
            Variable("bits", "conv", (Bits(8, 8), Bits(32, 32))),
            Variable("merge", "one", (0, 1)),
            Variable("merge", "two", (0, 1)),
            Variable("channels", "alone", (1, 2)),
        ),
        nested=((0, (2, 4, 5, 6)), (1, (3, 5)), (5, (2, 4)), (6, (3, 4))),
    )


def test_what_lies_in_several_blocks_and_merges_counts_where_it_means_something() -> None:
    space = with_merges()
    everything = np.array(
        list(itertools.product(*(range(size) for size in space.sizes))), dtype=np.int16
    )
    canonical = space.canonical(everything)
    assert np.array_equal(space.canonical(canonical), canonical)
    assert space.size == len(np.unique(canonical, axis=0))
    gone = space.canonical(np.array([0, 1, 0, 0, 0, 0, 0, 0], dtype=np.int16))
    assert gone.tolist() == [0, 1, 2, 0, 1, 1, 1, 0]  # without the block its merges mean nothing
    made = space.canonical(np.array([1, 1, 0, 0, 0, 1, 0, 0], dtype=np.int16))
    assert made.tolist() == [1, 1, 0, 1, 1, 1, 0, 0]


def test_around_a_choice_is_its_block() -> None:
    assert with_merges().blocks_around == {2: 0, 4: 0, 5: 1, 6: 0, 3: 1}


def test_vectors_and_policies_are_each_others_inverse() -> None:
    space = small()
    for vector in space.random(50, np.random.default_rng(0)):
        policy = space.decode(vector)
        assert np.array_equal(space.encode(policy), vector)


def test_dense_is_the_last_option_everywhere() -> None:
    space = small()
    dense = space.decode(space.dense)
    assert dense.channels == {"inner": 12, "outer": 4}
    assert dense.resolution == 32
    assert dense.removed == frozenset()
    assert np.array_equal(space.encode(Policy()), space.dense)


def test_what_lives_in_a_block_that_is_left_out_does_not_count() -> None:
    space = small()
    left_out = Policy({"inner": 4}, frozenset({"b"}))
    assert np.array_equal(space.encode(left_out), space.encode(Policy({}, frozenset({"b"}))))
    kept = space.encode(Policy({"inner": 4}))
    assert np.array_equal(space.canonical(kept), kept)


def test_size_counts_different_networks() -> None:
    space = small()
    everything = np.array(
        list(itertools.product(*(range(size) for size in space.sizes))), dtype=np.int16
    )
    distinct = np.unique(space.canonical(everything), axis=0)
    assert space.size == len(distinct) == 2 * (1 + 3) * 2 * 2


def test_random_vectors_are_legal_and_repeatable() -> None:
    space = small()
    drawn = space.random(500, np.random.default_rng(3))
    assert np.array_equal(drawn, space.random(500, np.random.default_rng(3)))
    assert (drawn >= 0).all()
    assert (drawn < space.sizes).all()
    assert np.array_equal(drawn, space.canonical(drawn))
    assert len(np.unique(drawn, axis=0)) == space.size


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (Policy({"inner": 5}), "channels of 'inner' cannot be 5: the space has 4, 8, 12"),
        (Policy({"nobody": 5}), "no choice of channels 'nobody'"),
        (Policy(removed=frozenset({"inner"})), "no choice of block 'inner'"),
        (Policy(resolution=24), "resolution cannot be 24"),
    ],
)
def test_choices_that_the_space_lacks_are_named(policy: Policy, said: str) -> None:
    with pytest.raises(SpaceError, match=said):
        small().encode(policy)


def test_digest_tells_spaces_apart_and_survives_pickling() -> None:
    space = small()
    assert pickle.loads(pickle.dumps(space)).digest == space.digest
    assert Space(space.variables).digest != space.digest


def unknown() -> Space:
    with KINDS.including(MADE_UP):
        return Space((Variable(MadeUpKind.name, "part", ("least", "dense")),))


def test_a_space_of_an_unknown_kind_is_none() -> None:
    with pytest.raises(SpaceError, match=r"no kind of choice 'chanels' \(did you mean channels"):
        Space((Variable("chanels", "g", (1, 2)),))


def test_an_unknown_kind_is_refused_where_vectors_are_made_and_read() -> None:
    space = unknown()  # as it comes out of a process that knows the kind
    with pytest.raises(SpaceError, match="no kind of choice 'made-up'"):
        space.decode(space.dense)
    with pytest.raises(SpaceError, match="no kind of choice 'made-up'"):
        space.encode(Policy(further={"made-up": {"part": "least"}}))


def test_a_further_kind_is_encoded_by_its_own_text() -> None:
    space = unknown()
    with KINDS.including(MADE_UP):
        policy = space.decode(np.array([0], dtype=np.int16))
        assert policy == Policy(further={"made-up": {"part": "least"}})
        assert space.encode(policy).tolist() == [0]
        with pytest.raises(SpaceError, match="made-up of 'part' cannot be more: the space has lea"):
            space.encode(Policy(further={"made-up": {"part": "more"}}))


def test_options_are_said_as_people_write_them() -> None:
    with pytest.raises(SpaceError, match="bits of 'conv' cannot be w4a4: the space has int8, fp32"):
        small().encode(Policy(bits={"conv": Bits(4, 4)}))


def test_kinds_that_leave_something_open() -> None:
    space = Space((*small().variables, Variable("bits", "held", (Bits(8, 8),))))
    assert space.kinds == ("resolution", "block", "channels", "bits")
    assert space.kinds_but("channels", "block") == ("resolution", "bits")
    assert Space(space.variables[-1:]).kinds_but() == ()


def test_policies_and_plain_values_are_each_others_inverse() -> None:
    space = small()
    for vector in space.random(20, np.random.default_rng(0)):
        policy = space.decode(vector)
        written = json.loads(json.dumps(space.parameters(policy)))
        assert space.policy(written) == policy
    assert space.parameters(Policy({"outer": 2})) == {
        "resolution": 32,
        "block:b": 1,
        "channels:inner": 12,
        "channels:outer": 2,
        "bits:conv": "w32a32",
    }


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"channels:iner": 4}, r"no choice 'channels:iner' \(did you mean channels:inner"),
        ({"block:b": None}, "no value for 'block:b'"),
        ({"channels:outer": 3}, "channels:outer cannot be 3: the space has 2, 4"),
        ({"resolution": "16"}, "resolution cannot be '16': the space has 16, 32"),
    ],
)
def test_plain_values_that_are_none_are_refused(changed: dict[str, object], message: str) -> None:
    given = {**small().parameters(Policy()), **changed}
    kept = {name: value for name, value in given.items() if value is not None}
    with pytest.raises(SpaceError, match=message):
        small().policy(kept)  # type: ignore[arg-type]
