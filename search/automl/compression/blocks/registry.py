"""The alternatives of a block by name, ours and those that other packages add.

Another package adds one with an entry point in the group "automl.blocks" whose value is a subclass
of `automl.compression.BlockForm` that is made without arguments.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from automl.compression.blocks.base import BlockForm
from automl.methods import Method, Registry


def _entry(name: str, maker: str, paper: str, summary: str) -> Method:
    return Method(name, summary, paper, f"automl.compression.blocks.{maker}", frozenset({"data"}))


#: From what mostly changes a unit most.
BLOCKS: Final = Registry[BlockForm](
    "blocks",
    (
        _entry(
            "fire",
            "fire:Fire",
            "Iandola et al., SqueezeNet, 2016",
            "A unit's convolutions as a fire module and a 1 x 1, distilled.",
        ),
        _entry(
            "separable-relu",
            "separable_relu:SeparableRelu",
            "Howard et al., MobileNets, 2017",
            "Dense convolutions as depthwise ones, a ReLU and 1 x 1, distilled.",
        ),
        _entry(
            "half-width",
            "half_width:HalfWidth",
            "Molchanov et al., LANA, 2022; Bercovich et al., Puzzle, 2024",
            "A unit with half of its inner channels, distilled.",
        ),
        _entry(
            "binary",
            "binary:Binary",
            "Rastegari et al., XNOR-Net, 2016",
            "A unit with binary weights but in its last convolution, distilled; on targets with\n"
            "rows of their kernel.",
        ),
        _entry(
            "se-gone",
            "se_gone:SeGone",
            "Hu et al., Squeeze-and-Excitation, 2018; Tan et al., MnasNet, 2019",
            "Squeeze-and-excitation left out, its mean gate in the weights that read it.",
        ),
    ),
    "alternative of a block",
)


@cache
def block_form(name: str) -> BlockForm:
    """The alternative of that name.

    Raises:
        UnknownNameError: There is none; names the nearest.
        UsageError: Its package fails to load it.
    """
    return BLOCKS.make(name)
