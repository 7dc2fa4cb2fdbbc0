"""A reconstruction of another package is found by its name, and finishes candidates."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest
import torch
from compressed import images_for
from small import MAP, Plain, seeded
from torch import nn

from automl.compression.compressor import Compressor
from automl.compression.config import CompressionConfig
from automl.compression.quantization.base import Quantizer
from automl.compression.reconstruction.base import FULL_REFIT, Candidate, RefitSettings
from automl.compression.reconstruction.registry import RECONSTRUCTIONS
from automl.methods import registry
from automl.network.traced_model import trace_network
from automl.policy.policy import Policy


class Biased:
    """Adds to the bias of the head, and says what it was given."""

    seen: list[tuple[Candidate, RefitSettings]] = []  # noqa: RUF012

    def __init__(self, by: float = 1.0) -> None:
        self._by = by

    def finish(
        self, candidate: Candidate, quantizer: Quantizer, settings: RefitSettings = FULL_REFIT
    ) -> nn.Module:
        self.seen.append((candidate, settings))
        with torch.no_grad():
            candidate.model.get_submodule("head").bias.add_(self._by)  # type: ignore[operator]
        return candidate.model


def test_the_registry_is_found_by_its_kind() -> None:
    assert registry("reconstructions") is RECONSTRUCTIONS
    assert RECONSTRUCTIONS.names()[0] == "least-squares"


def test_another_packages_reconstruction_finishes(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("biased", f"{__name__}:Biased", "automl.reconstructions")
    monkeypatch.setattr(RECONSTRUCTIONS, "_added", {"biased": point})
    monkeypatch.setattr(Biased, "seen", [])
    traced = trace_network(seeded(Plain), MAP, resolutions=())
    config = CompressionConfig(reconstruction="biased:by=0.5")
    made = Compressor(traced, images_for(MAP, 8), {"first": (3,)}, config=config)
    policy, settings = Policy({"first": 3}), RefitSettings(images=2)
    finished, raw = made.make(policy, settings=settings), made.make(policy, finish=False)
    change = finished.get_submodule("head").bias - raw.get_submodule("head").bias  # type: ignore[operator]
    assert torch.allclose(change, torch.tensor(0.5))
    ((candidate, asked),) = made_seen = Biased.seen
    assert len(made_seen) == 1
    assert asked == settings
    assert candidate.kept_outputs["first"].tolist() == made.database.kept(policy)["first"].tolist()
