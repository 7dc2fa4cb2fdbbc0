"""The layer behind each choice."""

from __future__ import annotations

from automl.space import Space, SpaceSettings, Variable, open_space
from automl.study.problem import Agent, Geometry, read_geometry
from handmade import network
from toy_kind import known


def test_each_choice_stands_for_the_first_layer_that_its_kind_names() -> None:
    with known():
        space = open_space(network(), SpaceSettings(round_to=8, kinds=["taper"]))
        found = dict(
            zip(
                ((each.kind, each.name) for each in space.variables),
                read_geometry(network(), space),
                strict=True,
            )
        )
    assert found["resolution", ""] == Geometry(0, False, 3, 16, 32, 32, 1, 3)
    assert found["block", "block"].position == 1
    assert found["channels", "inner"].position == 1
    assert found["channels", "left"].position == 6
    assert found["taper", "free"] == Geometry(5, False, 16, 8, 32, 32, 1, 3)


def test_bits_stand_for_their_layer_and_linear_layers_are_told_apart() -> None:
    space = Space((Variable("bits", "head", (1, 2)), Variable("bits", "mix", (1, 2))))
    head, mix = read_geometry(network(), space)
    assert (head.position, head.linear, head.kernel) == (11, True, 1)
    assert (mix.position, mix.linear, mix.kernel) == (9, False, 3)


def test_an_agent_that_says_nothing_holds_nothing_and_takes_rough_scores() -> None:
    class Silent(Agent):
        pass

    assert Silent().held == ()
    assert not Silent().full_scores
