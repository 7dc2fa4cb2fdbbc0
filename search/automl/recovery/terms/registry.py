"""The losses by name, ours and those that other packages add."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from automl.methods import Method, Registry

if TYPE_CHECKING:
    from automl.recovery.base import Term

TERMS: Final[Registry[Term]] = Registry(
    "terms",
    (
        Method(
            "labels",
            "Cross-entropy with the labels; mean squares where targets are pictures.",
            "common knowledge",
            "automl.recovery.terms.labels:Labels",
            frozenset({"labels", "training-data"}),
        ),
        Method(
            "kd",
            "Softened class scores towards those of the dense network, or the mean of several\n"
            "teachers; outputs that are no classes by mean squares. Labels are not needed.",
            "Hinton, Vinyals and Dean, 2015; You et al., 2017 (the mean of teachers)",
            "automl.recovery.terms.kd:KnowledgeDistillation",
            frozenset({"training-data"}),
        ),
        Method(
            "hints",
            "What blocks write towards what the dense network's write, wherever widths agree;\n"
            "with local=true each block learns by itself.",
            "Romero et al., FitNets, 2015 (without a regressor)",
            "automl.recovery.terms.hints:Hints",
            frozenset({"training-data"}),
        ),
    ),
)
