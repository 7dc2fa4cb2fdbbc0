"""The reconstructions that come with automl hold to what each has to."""

from __future__ import annotations

from automl.compression.reconstruction.base import FULL_REFIT, RefitSettings
from automl.testing.reconstructions import ReconstructionContract


class TestLeastSquares(ReconstructionContract):
    name = "least-squares"


class TestWithAnotherRidge(ReconstructionContract):
    name = "least-squares:ridge=1e-2,rounded_ridge=1e-1"


class TestThinetScale(ReconstructionContract):
    name = "thinet-scale"
    left = 1.15


class TestBlockRounding(ReconstructionContract):
    name = "block-rounding:rounds=3,images=32"


class TestIndependent(ReconstructionContract):
    name = "independent"
    left = 1.15


class TestRaw(ReconstructionContract):
    name = "raw"
    left = 1.01


def test_everything_is_more_than_a_share() -> None:
    share = RefitSettings(images=256, rows=8_000, refine=False)
    assert FULL_REFIT.images > share.images
    assert FULL_REFIT.rows > share.rows
    assert FULL_REFIT.refine
