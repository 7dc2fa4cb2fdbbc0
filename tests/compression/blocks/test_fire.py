"""A fire module squeezes, and keeps its ReLUs."""

from __future__ import annotations

from automl.testing import BlockContract


class TestFire(BlockContract):
    name = "fire"


def test_it_squeezes_to_an_eighth_of_what_it_expands_to() -> None:
    contract = TestFire()
    unit = contract.units(contract.traced())[0]
    squeeze, expand, point = contract.form.stages(unit)
    widths = [plan.layer.out_channels for plan in (*squeeze.plans, *expand.plans, *point.plans)]
    assert widths == [2, 8, 8, 16]
    assert [plan.layer.kernel for plan in expand.plans] == [(1, 1), (3, 3)]
    assert (squeeze.relu, expand.relu, point.relu) == (True, True, False)
