"""The multiply-accumulates of a finished network, counted by fvcore.

What a policy promised is held against a count that is not ours.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import torch
from torch import nn

from automl.export.float_onnx import between_tensors

#: Operators whose multiply-accumulates count; fvcore counts norms and interpolation as well.
_WEIGHTED: Final = ("conv", "linear", "addmm", "matmul", "bmm", "mm", "einsum", "baddbmm")
#: Operators of weight that fvcore may meet and does not know.
_HEAVY: Final = ("scaled_dot_product_attention", "lstm", "gru", "multi_head_attention_forward")


@dataclass(frozen=True, slots=True)
class CountedMacs:
    """What fvcore found.

    Attributes:
        macs: Multiply-accumulates of one input.
        unknown: Operators with multiply-accumulates that fvcore does not know: the count lacks
            theirs.
    """

    macs: float
    unknown: tuple[str, ...] = ()


def count_macs(model: nn.Module, input_shape: tuple[int, ...]) -> CountedMacs:
    """Count a network's multiply-accumulates, those of convolutions, linear layers and products.

    Args:
        model: In eval mode, on the CPU.
        input_shape: Of one batch-1 input.
    """
    counted_in = between_tensors(model, torch.zeros(input_shape))
    with warnings.catch_warnings(), _slow_path(), torch.no_grad():
        warnings.simplefilter("ignore")  # fvcore traces and scripts with torch.jit
        from fvcore.nn import FlopCountAnalysis

        counted = FlopCountAnalysis(counted_in.network, counted_in.given)
        counted.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        counted.tracer_warnings("none")
        operators = counted.by_operator()
        unsupported = counted.unsupported_ops()
    macs = sum(float(operators[name]) for name in _WEIGHTED)
    unknown = {name.rpartition("::")[2].strip("_") for name in unsupported} & set(_HEAVY)
    return CountedMacs(macs, tuple(sorted(unknown)))


@contextmanager
def _slow_path() -> Iterator[None]:
    """Attention as separate operators: fvcore sees nothing inside torch's fused kernel."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
