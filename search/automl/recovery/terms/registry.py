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
        Method(
            "fsp",
            "Products of the maps of blocks that follow each other, as the dense network has them.",
            "Yim et al., A Gift from Knowledge Distillation, 2017",
            "automl.recovery.terms.fsp:Fsp",
            frozenset({"training-data"}),
        ),
        Method(
            "similarity",
            "Which inputs of a batch are alike inside, as to the dense network.",
            "Tung and Mori, 2019",
            "automl.recovery.terms.similarity:Similarity",
            frozenset({"training-data"}),
        ),
        Method(
            "group-lasso",
            "Lengths of whole filters, channels, places of all filters (shape) or layers (depth),\n"
            "as of= says.",
            "Wen et al., Structured Sparsity Learning, 2016",
            "automl.recovery.terms.group_lasso:GroupLasso",
            frozenset({"training-data"}),
        ),
        Method(
            "cges",
            "Filters that are short, with few large weights: more of the second in late layers.",
            "Yoon and Hwang, 2017",
            "automl.recovery.terms.cges:CombinedGroupExclusive",
            frozenset({"training-data"}),
        ),
        Method(
            "l1-gamma",
            "Magnitudes of the scales of batch norms.",
            "Liu et al., Network Slimming, 2017; Wang et al., GAN Slimming, 2020",
            "automl.recovery.terms.l1_gamma:L1Gamma",
            frozenset({"original-norms", "training-data"}),
        ),
        Method(
            "l1",
            "Magnitudes of all weights.",
            "Tibshirani, 1996",
            "automl.recovery.terms.l1:L1Weights",
            frozenset({"training-data"}),
        ),
        Method(
            "l2",
            "Squares of all weights.",
            "Krogh and Hertz, 1991",
            "automl.recovery.terms.l2:L2Weights",
            frozenset({"training-data"}),
        ),
        Method(
            "k-means",
            "Distances of weights from the few values that they are nearest to.",
            "Wu et al., Deep k-Means, 2018",
            "automl.recovery.terms.k_means:KMeansPull",
            frozenset({"training-data"}),
        ),
    ),
)
