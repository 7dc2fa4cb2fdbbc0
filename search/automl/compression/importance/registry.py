"""The importances by name, ours and those that other packages add."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from automl.methods import Method, Registry

if TYPE_CHECKING:
    from automl.compression.importance.base import Importance

IMPORTANCES: Final[Registry[Importance]] = Registry(
    "importances",
    (
        Method(
            "obs",
            "Structured Optimal Brain Surgeon: the channel goes whose loss the others compensate\n"
            "best, by the inputs' second moments; the weights that stay are updated each time.",
            "Hassibi and Stork, 1993; Kurtic et al., ZipLM, 2023",
            "automl.compression.importance.obs:Obs",
            frozenset({"data"}),
        ),
    ),
)
