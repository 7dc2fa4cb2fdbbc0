"""The contract of forms finds out what breaks it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from automl.compression.forms.base import Form
from automl.compression.forms.taps import Parameter, Taps
from automl.network.layers import Layer
from automl.testing import FormContract


class Mute(Taps):
    """Writes all parameters alike."""

    def write(self, parameter: Parameter) -> str:
        return "1x1"


class Cheap(Taps):
    """Tells of fewer channels than it makes."""

    def lower(self, parameter: Parameter, layer: Layer) -> tuple[Layer, ...]:
        (found,) = super().lower(parameter, layer)
        return (replace(found, stride=(found.stride[0] * 2, found.stride[1])),)


class Restless(Taps):
    """Moves what is in the set already."""

    def factors(self, parameter: Parameter, kernel: Any, metric: Any) -> tuple[Any, ...]:
        return tuple(0.5 * each for each in super().factors(parameter, kernel, metric))


class Shifted(Taps):
    """Fits other taps than it runs."""

    def compose(self, parameter: Parameter, factors: Sequence[Any], window: Any) -> Any:
        return super().compose(parameter, factors, window).roll(1, -1)


@pytest.mark.parametrize(
    ("form", "promise"),
    [
        (Mute, "every_parameter_is_read_as_it_is_written"),
        (Cheap, "what_runs_computes_what_the_fitted_layer_does"),
        (Restless, "a_fitted_layer_stays_what_it_is"),
        (Shifted, "what_runs_computes_what_the_fitted_layer_does"),
    ],
)
def test_who_breaks_a_promise_is_found_out(form: type[Form[Any]], promise: str) -> None:
    class Tried(FormContract):
        name = "taps"

        def form(self) -> Form[Any]:
            return form()

    with pytest.raises((AssertionError, RuntimeError)):
        getattr(Tried(), f"test_{promise}")()
