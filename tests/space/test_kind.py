"""What a kind says of itself where it says nothing."""

from __future__ import annotations

from automl.policy.policy import Bits, Policy
from automl.space import Variable, bit_options, channel_counts, sixteenth
from automl.testing import MadeUpKind
from handmade import network


def test_its_choices_stand_among_the_further_ones() -> None:
    kind = MadeUpKind()
    policy = kind.policy({"a": "less", "b": "dense"})
    assert policy == Policy(further={"made-up": {"a": "less", "b": "dense"}})
    assert kind.chosen(policy) == {"a": "less", "b": "dense"}
    assert kind.chosen(Policy()) == {}
    assert kind.show("less") == "less"


def test_it_is_about_layers_that_run_as_they_are() -> None:
    kind, traced = MadeUpKind(), network()
    assert [plan.layer.name for plan in traced.plans if kind.is_at(plan, "mix")] == ["mix"]
    assert kind.inside(traced.blocks[0]) == ("expand", "depthwise", "project", "add")
    layer = traced.plans[0].layer
    assert kind.lower("less", layer) == (layer,)
    assert not kind.lowers
    assert not kind.ordered


def test_options_of_kinds_that_are_known_come_with_their_type() -> None:
    assert channel_counts(Variable("channels", "g", (4, 8))) == (4, 8)
    assert bit_options(Variable("bits", "c", (Bits(8, 8), Bits()))) == (Bits(8, 8), Bits())


def test_a_sixteenth_is_at_least_one() -> None:
    assert [sixteenth(count) for count in (8, 16, 100)] == [1, 1, 6]
