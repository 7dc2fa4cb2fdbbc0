"""The hooks by name, ours and those that other packages add."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from automl.methods import Method, Registry

if TYPE_CHECKING:
    from automl.recovery.base import Hook

_NEEDS: Final = frozenset({"training-data"})

HOOKS: Final[Registry[Hook]] = Registry(
    "hooks",
    (
        Method(
            "soft-mask",
            "Zeroes the smallest filters after each epoch and trains them on, so that some come\n"
            "back; the last ones are cut out.",
            "He et al., Soft Filter Pruning, 2018",
            "automl.recovery.hooks.soft_mask:SoftMask",
            _NEEDS,
        ),
        Method(
            "zero-out",
            "Chosen channels learn nothing more and shrink to zero; then they are cut out.",
            "Ding et al., Global Sparse Momentum, 2019; ResRep, 2021",
            "automl.recovery.hooks.zero_out:ZeroOut",
            _NEEDS,
        ),
        Method(
            "centripetal",
            "Filters of a cluster become equal and are merged into one, without any loss.",
            "Ding et al., Centripetal SGD, 2019",
            "automl.recovery.hooks.centripetal:Centripetal",
            _NEEDS,
        ),
        Method(
            "surgery",
            "Cuts the smallest weights and splices those back that grow while it trains.",
            "Guo et al., Dynamic Network Surgery, 2016",
            "automl.recovery.hooks.surgery:Surgery",
            _NEEDS,
        ),
        Method(
            "iht",
            "The largest weights alone are trained, then all, and again.",
            "Jin et al., Iterative Hard Thresholding, 2016",
            "automl.recovery.hooks.iht:HardThresholding",
            _NEEDS,
        ),
        Method(
            "keep-zeros",
            "Weights that are zero stay zero.",
            "Han et al., 2015",
            "automl.recovery.hooks.keep_zeros:KeepZeros",
            _NEEDS,
        ),
        Method(
            "prox",
            "Proximal steps that make filters, channels, weights or scales of norms exactly zero.",
            "Zhou, Alvarez and Porikli, Less Is More, 2016",
            "automl.recovery.hooks.prox:Proximal",
            _NEEDS,
        ),
        Method(
            "admm",
            "Loss and a set (zeros, powers of two, ternary) brought together by dual updates.",
            "Leng et al., 2018; Zhang et al., 2018",
            "automl.recovery.hooks.admm:Admm",
            _NEEDS,
        ),
        Method(
            "freeze-progressive",
            "Ever more weights become powers of two and stay, the others make up for it.",
            "Zhou et al., Incremental Network Quantization, 2017",
            "automl.recovery.hooks.freeze_progressive:FreezeProgressive",
            _NEEDS,
        ),
        Method(
            "progressive-bits",
            "Bits of weights fall to the policy's in steps (8, 4), then those of activations;\n"
            "for policies with bits.",
            "Zhuang et al., Towards Effective Low-bitwidth CNNs, 2018",
            "automl.recovery.hooks.progressive_bits:ProgressiveBits",
            _NEEDS,
        ),
        Method(
            "dropconnect",
            "Leaves a random part of the weights out in each step.",
            "Wan et al., 2013",
            "automl.recovery.hooks.dropconnect:DropConnect",
            _NEEDS,
        ),
        Method(
            "meprop",
            "Of the gradients of each output the largest alone go backwards.",
            "Sun et al., 2017",
            "automl.recovery.hooks.meprop:MeProp",
            _NEEDS,
        ),
        Method(
            "quantised-gradients",
            "Gradients of outputs go backwards in few bits.",
            "Zhou et al., DoReFa-Net, 2016",
            "automl.recovery.hooks.quantised_gradients:QuantizedGradients",
            _NEEDS,
        ),
    ),
)
