"""Blocks that can be left out."""

from automl.compression.kinds.block import BlockKind
from automl.policy.policy import Policy
from automl.space import SpaceSettings
from handmade import network


def test_one_choice_a_block_where_depth_is_open() -> None:
    kind = BlockKind()
    (variable,) = kind.variables(network(), SpaceSettings())
    assert (variable.name, variable.options) == ("block", (0, 1))
    assert kind.variables(network(), SpaceSettings(depth=False)) == []


def test_it_is_at_the_layers_inside_and_holds_no_block() -> None:
    kind, traced = BlockKind(), network()
    at = [plan.layer.name for plan in traced.plans if kind.is_at(plan, "block")]
    assert at == ["expand", "depthwise", "project", "add"]
    assert kind.inside(traced.blocks[0]) == ()


def test_a_policy_has_a_field_for_it() -> None:
    kind, policy = BlockKind(), Policy(removed=frozenset({"b", "a"}))
    assert list(kind.chosen(policy)) == ["a", "b"]
    assert kind.policy({"a": 0, "b": 0, "c": 1}) == policy
    assert kind.parse(kind.format(0)) == 0
