"""Axes of a layer's table: counts that are priced, and those between."""

from __future__ import annotations

import numpy as np

from automl.cost.axes import Axis, axes_of, settle
from automl.space import SpaceSettings, open_space
from handmade import network


def test_counts_between_are_interpolated_from_those_that_are_priced() -> None:
    axis = Axis(((0, np.arange(5)),), np.arange(8, 13), None, np.array([0, 4]))
    assert axis.size == 5
    np.testing.assert_allclose(axis.weights() @ [1.0, 3.0], [1.0, 1.5, 2.0, 2.5, 3.0])


def test_a_concatenation_is_indexed_by_the_sum_of_its_groups() -> None:
    traced = network()
    space = open_space(traced, SpaceSettings(round_to=4))
    plans = {plan.layer.name: plan for plan in traced.plans}
    (axis,) = axes_of(settle(plans["cat"], traced, space), space, 8)
    assert axis.inputs is not None
    assert axis.inputs.tolist() == list(range(4 + 4 + 4, 4 + 8 + 16 + 1, 4))
    assert {space.variables[index].name for index, _ in axis.steps} == {"inner_free", "left"}


def test_what_the_space_does_not_open_is_settled() -> None:
    traced = network()
    space = open_space(traced, SpaceSettings(round_to=64))  # no group has so many
    plan = settle(traced.plans[0], traced, space)
    assert (plan.outputs.fixed, plan.outputs.parts) == (16, ())
    assert axes_of(plan, space, 8) == ()
