"""Rows of the scoreboard: masks, and what a layer's weights share."""

from __future__ import annotations

from functools import partial

from scored import Bench, Check, Figures, Row


def criteria(bench: Bench, form: str) -> Figures:
    """A mask chosen in three ways, one 3 x 3 convolution at a time."""
    obs, obd, magnitude = (
        bench.form_error(f"{form}{saliency}") for saliency in ("", "-obd", "-magnitude")
    )
    return {
        "obs": obs,
        "obd": obd,
        "magnitude": magnitude,
        "obd over magnitude": obd / magnitude,
        "obs over obd": obs / obd,
    }


def two_of_four(bench: Bench) -> Figures:
    """With the weights that stay solved for, over the largest as they are."""
    obs, magnitude = bench.form_error("2:4"), bench.form_error("2:4:magnitude")
    return {"obs": obs, "magnitude": magnitude, "ratio": obs / magnitude}


_ORDER = (Check("obd over magnitude", at_most=1.0), Check("obs over obd", at_most=1.0))

ROWS = (
    Row(
        "2:4",
        "forms/2:4",
        "least squares on the mask: at most half of magnitude's error (measured once: 0.26)",
        two_of_four,
        (Check("ratio", at_most=0.5),),
    ),
    *(
        Row(
            f"{form}-{percent}",
            f"forms/{form}",
            f"{percent} % stay: error of obd at most magnitude's, of obs at most obd's",
            partial(criteria, form=f"{form}:{percent}"),
            _ORDER,
        )
        for form, percent in (("unstructured", 50), ("kernel", 50), ("row", 50))
    ),
)
