"""The quantizers by name, ours and those that other packages add."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from automl.methods import Method, Registry

if TYPE_CHECKING:
    from automl.compression.quantization.base import Quantizer

QUANTIZERS: Final[Registry[Quantizer]] = Registry(
    "quantizers",
    (
        Method(
            "second-order",
            "Each weight's rounding error is compensated by those after it, by the inputs' second\n"
            "moments; scales are fitted, and each column is rounded once more given the others.",
            "Frantar and Alistarh, Optimal Brain Compression, 2022",
            "automl.compression.quantization.second_order:SecondOrder",
            frozenset({"data"}),
        ),
        Method(
            "nearest",
            "Each weight is rounded to its nearest; scale and codebook are fitted to the weights.",
            "the usual baseline",
            "automl.compression.quantization.nearest:Nearest",
            frozenset({"data"}),
        ),
        Method(
            "per-tensor",
            "One scale for all weights of a layer, second order; channels between layers are\n"
            "scaled alike first. Taken by itself where a target knows no more scales.",
            "Nagel et al., Data-Free Quantization, 2019",
            "automl.compression.quantization.per_tensor:PerTensor",
            frozenset({"data"}),
        ),
    ),
)
