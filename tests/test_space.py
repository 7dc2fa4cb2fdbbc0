import itertools
import pickle

import numpy as np
import pytest

from automl.errors import SpaceError
from automl.network.layers import ChannelGroup, Network
from automl.policy.policy import Bits, Policy
from automl.space import Space, Variable, build_space, sixteenth
from handmade import network


def channels_only(channels: int, partition: int = 1) -> Network:
    return Network((), (ChannelGroup("g", channels, (), (), partition),), (), (1, 3, 8, 8), (8,))


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


def test_the_space_of_a_network() -> None:
    space = build_space(network(), round_to=4)
    names = [(variable.kind, variable.name) for variable in space.variables]
    assert names[:2] == [("resolution", ""), ("block", "block")]
    assert space.variables[space.positions["channels", "inner"]].options == (4, 8, 12, 16, 20, 24)
    assert space.nested == ((1, (space.positions["channels", "inner"],)),)


def test_depth_and_resolution_can_be_closed() -> None:
    space = build_space(network(), round_to=4, resolutions=[32], depth=False)
    assert {variable.kind for variable in space.variables} == {"channels"}
    with pytest.raises(SpaceError, match="does not run at resolution 24"):
        build_space(network(), resolutions=[24])


@pytest.mark.parametrize(
    ("channels", "partition", "round_to", "options"),
    [
        (8, 1, 1, (1, 2, 3, 4, 5, 6, 7, 8)),
        (20, 1, 8, (8, 16, 20)),
        (24, 3, 4, (12, 24)),
        (64, 1, 1, tuple(range(4, 65, 4))),
        (100, 1, 1, (*range(7, 100, 7), 100)),
    ],
)
def test_channel_options(
    channels: int, partition: int, round_to: int, options: tuple[int, ...]
) -> None:
    space = build_space(channels_only(channels, partition), round_to=round_to)
    assert space.variables[0].options == options
    assert len(options) <= 16


def test_granularity_by_group_and_least_share() -> None:
    by_group = build_space(channels_only(64), round_to={"g": 16})
    assert by_group.variables[0].options == (16, 32, 48, 64)
    not_named = build_space(channels_only(256), round_to={})
    assert not_named.variables[0].options == tuple(range(16, 257, 16))
    floor = build_space(channels_only(64), round_to=16, minimum_share=0.3)
    assert floor.variables[0].options == (32, 48, 64)
    assert [sixteenth(count) for count in (8, 16, 100)] == [1, 1, 6]


def test_bits_are_offered_to_layers_that_own_theirs() -> None:
    options = (Bits(32, 32), Bits(8, 8))
    space = build_space(network(), precisions=options, weight_only=(2, 4))
    (bits,) = space.of_kind("bits")
    assert space.variables[bits].name == "mix"
    assert space.variables[bits].options == (Bits(2, 32), Bits(4, 32), *options[::-1])
    held = build_space(network(), precisions=options, keep_first_last=True)
    assert held.variables[-1].options == (Bits(8, 8),)
    finest = build_space(network(), precisions=(Bits(4, 4), Bits(6, 6)), keep_first_last=True)
    assert finest.variables[-1].options == (Bits(6, 6),)
    with pytest.raises(SpaceError, match="only where layers may compute in float"):
        build_space(network(), precisions=(Bits(4, 4), Bits(8, 8)), weight_only=(4,))


def test_nothing_to_choose_is_said() -> None:
    with pytest.raises(SpaceError, match="nothing to choose"):
        build_space(channels_only(8), round_to=8)
    with pytest.raises(SpaceError, match="multiples of 0"):
        build_space(channels_only(8), round_to=0)
