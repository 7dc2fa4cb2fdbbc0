"""Candidates that are cut raw and have their batch norms re-estimated, in place of a refit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch import nn

from automl.compression.compressor import Compressor
from automl.compression.database import build_database
from automl.compression.importance.registry import IMPORTANCES
from automl.compression.resizing import resized
from automl.network import adapt_norms, norm_moments, with_norms, without_norms
from automl.policy import Policy
from automl.userdata import fitting

Tensor = torch.Tensor
#: Calibration inputs that norms are re-estimated on.
IMAGES: Final = 512
#: How many are a batch: at most, and at least however large they are, so that a batch's variance
#: is one of several images.
BATCH: Final = 64
_FEWEST: Final = 16


def norm_batches(images: Tensor) -> tuple[Tensor, ...]:
    """Inputs in batches that norms take their statistics on; smaller ones of large pictures."""
    batches: tuple[Tensor, ...] = images.split(min(BATCH, max(_FEWEST, fitting(images))))
    return batches


class AdaptiveNorms:
    """Makes networks of the filters with the largest L1 norms and of nothing else.

    No weight is changed. Each batch norm has the dense network's scale and shift of the channels
    that stay, and takes its mean and variance again, each layer reading what the layers before it
    give by now. Where nothing is cut that is the dense network.

    Source: Li et al., EagleEye, 2020 (section 3.3, adaptive batch normalization; section 3.4, L1
    filters). Differs: statistics are means over all batches, which is where the paper's moving
    average from a reset goes; scale and shift are the deviation and the mean that the dense
    network's norms write on the same inputs, as its norms are folded; layers without a norm stay as
    they were cut.

    Args:
        compressor: Whose network and calibration inputs these are.
        counts: Per channel group, the kept counts that may be asked for.
    """

    def __init__(self, compressor: Compressor, counts: Mapping[str, Sequence[int]]) -> None:
        self._database = build_database(
            compressor.statistics, counts, IMPORTANCES.build("l1"), compensation=False
        )
        self._batches = norm_batches(compressor.images[:IMAGES])
        self._wanted = norm_moments(compressor.traced.model, self._batches)

    @torch.no_grad()
    def __call__(self, policy: Policy) -> nn.Module:
        """The policy's network, in evaluation mode.

        Args:
            policy: Of channels, blocks and a resolution, in float.
        """
        shown = [resized(each, policy.resolution) for each in self._batches]
        student = with_norms(self._database.candidate(policy), shown[:1])
        adapt_norms(student, self._wanted, shown, self._database.kept_outputs(policy))
        return without_norms(student)
