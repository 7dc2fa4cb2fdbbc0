"""How many channels of a group can stay."""

import pytest
from compressed import Multiplied, compressor, read

from automl.compression.kinds.base import OneByOne
from automl.compression.kinds.channels import ChannelsKind
from automl.compression.sensitivity import measure_sensitivity
from automl.errors import SpaceError
from automl.network.layers import ChannelGroup, Network
from automl.policy.policy import Policy
from automl.space import Space, build_space
from handmade import network


def channels_only(channels: int, partition: int = 1) -> Network:
    return Network((), (ChannelGroup("g", channels, (), (), partition),), (), (1, 3, 8, 8), (8,))


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


@pytest.mark.parametrize(
    ("width", "round_to", "options"),
    [(4, 8, (2, 4, 6, 8)), (6, 4, (2, 4, 6, 8)), (8, 8, tuple(range(1, 9)))],
)
def test_multiples_are_of_channels_also_where_several_go_together(
    width: int, round_to: int, options: tuple[int, ...]
) -> None:
    groups = (ChannelGroup("g", 8, (), (), width=width),)
    runs = Network((), groups, (), (1, 3, 8, 8), (8,))
    assert build_space(runs, round_to=round_to).variables[0].options == options


def test_multiples_of_nothing_are_refused() -> None:
    with pytest.raises(SpaceError, match="multiples of 0"):
        build_space(channels_only(8), round_to=0)


def test_a_group_is_at_what_writes_it_and_lives_in_its_block() -> None:
    kind, traced = ChannelsKind(), network()
    at = [plan.layer.name for plan in traced.plans if kind.is_at(plan, "inner")]
    assert at == ["expand", "depthwise"]
    assert kind.inside(traced.blocks[0]) == ("inner",)


def test_a_policy_has_a_field_for_it() -> None:
    kind, policy = ChannelsKind(), Policy({"stem": 8})
    assert kind.policy(kind.chosen(policy)) == policy
    assert kind.parse(kind.format(8)) == 8


@pytest.mark.parametrize("name", ["residual", "inverted", "dense"])
def test_what_comes_before_a_group_is_computed_once_and_nothing_changes_by_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, whole = compressor(name), build_space(read(name).network, round_to=2)
    space = Space(tuple(each for each in whole.variables if each.kind == "channels"))
    with Multiplied() as less:
        found = measure_sensitivity(made.database, space, made.images[:3])
    plain = OneByOne.__init__
    monkeypatch.setattr(
        OneByOne, "__init__", lambda self, bench, trying, _: plain(self, bench, trying)
    )
    with Multiplied() as more:
        expected = measure_sensitivity(made.database, space, made.images[:3])
    assert [row.tolist() for row in found.single] == [row.tolist() for row in expected.single]
    assert less.layers < 0.8 * more.layers
