"""Squeeze-and-excitation left out: its map is read as it is."""

from __future__ import annotations

from typing import ClassVar

from automl.compression.blocks.base import BlockForm, Stage
from automl.network import BlockUnit


class SeGone(BlockForm):
    """No gate: the convolutions that read the map take up what the gate multiplied with.

    Each channel's number is that of the least squared error against the gated map, over all
    calibration inputs: the mean of the gate, weighted by the map's squares. That is all there is to
    distil, and it is solved; nothing is trained. It goes into the readers' weights, which the
    finishing step solves again as those of any layer.

    Source: Squeeze-and-Excitation (Hu et al. 2018) for the gate; MnasNet (Tan et al. 2019, section
    4.1) for a gate that is kept or left out, block by block, as a choice of a search.
    """

    name = "se-gone"
    opens_gates: ClassVar[bool] = True

    def stages(self, unit: BlockUnit) -> tuple[Stage, ...]:
        """None: nothing runs in the gate's place."""
        return ()

    def takes(self, unit: BlockUnit) -> bool:
        """Whether the unit is what a gate is made of."""
        return unit.gate is not None
