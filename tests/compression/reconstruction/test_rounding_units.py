"""Which modules rounding is learned in."""

from __future__ import annotations

from small import MAP, Shortcuts, seeded

from automl.compression.reconstruction.rounding_units import units_of
from automl.network.traced_model import trace_network


def test_units_are_the_innermost_modules_that_hold_layers_together() -> None:
    trace = trace_network(seeded(Shortcuts), MAP, resolutions=()).trace
    units = units_of(trace, {"stem", "same.inner", "same.outer", "after.project"})
    assert [(unit.name, unit.layers) for unit in units] == [
        ("same", ("same.inner", "same.outer")),
        ("after", ("after.project",)),
    ]
    assert trace.modules["same"] == ((units[0].reads,), (units[0].writes,))
