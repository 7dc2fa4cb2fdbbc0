"""The space of a network is what its kinds leave open in it."""

from dataclasses import replace

import pytest

from automl.errors import SpaceError
from automl.network.layers import ChannelGroup, Network
from automl.policy.policy import Bits
from automl.space import SpaceSettings, build_space, open_space
from handmade import network
from toy_kind import known


def channels_only(channels: int, partition: int = 1) -> Network:
    return Network((), (ChannelGroup("g", channels, (), (), partition),), (), (1, 3, 8, 8), (8,))


def test_the_space_of_a_network() -> None:
    space = build_space(network(), round_to=4)
    names = [(variable.kind, variable.name) for variable in space.variables]
    assert names[:2] == [("resolution", ""), ("block", "block")]
    assert space.variables[space.positions["channels", "inner"]].options == (4, 8, 12, 16, 20, 24)
    assert space.nested == ((1, (space.positions["channels", "inner"],)),)


def test_nothing_to_choose_is_said() -> None:
    with pytest.raises(SpaceError, match="nothing to choose"):
        build_space(channels_only(8), round_to=8)


def test_further_kinds_are_open_where_they_are_named() -> None:
    with known():
        assert "taper" not in build_space(network(), round_to=8).kinds
        space = open_space(network(), SpaceSettings(round_to=8, kinds=["taper", "channels"]))
        assert [space.variables[i].name for i in space.of_kind("taper")] == ["stem", "free", "mix"]
        with pytest.raises(SpaceError, match=r"no kind of choice 'tapir' \(did you mean taper"):
            open_space(network(), SpaceSettings(kinds=["tapir"]))
        closed = Network((), (), (), (1, 3, 8, 8), (8,))
        with pytest.raises(SpaceError, match=r"nothing to choose: .*, no taper"):
            open_space(closed, SpaceSettings(kinds=["taper"]))


def test_a_layer_has_bits_and_one_other_form() -> None:
    with known():
        both = SpaceSettings(precisions=(Bits(8, 8), Bits()), kinds=["taper"])
        assert {"bits", "taper"} <= set(open_space(network(), both).kinds)
        said = "form and taper of '.*' cannot both be chosen"
        with pytest.raises(SpaceError, match=said):
            open_space(network(), replace(both, kinds=["taper", "form"]))
