"""Which features are kept, and which are collected again."""

from __future__ import annotations

import pytest
import torch

from automl.compression import feature_store
from automl.compression.feature_store import FeatureStore
from automl.compression.memory import ImageParts
from automl.compression.statistics import Excerpt, Features

PARTS = ImageParts(lambda here: torch.empty(0), (slice(0, 1),), {})
PART, WHOLE = Excerpt(4, 20), Excerpt(1 << 30, 1 << 30)


class Collector:
    """Counts how often features were collected."""

    def __init__(self, store: FeatureStore) -> None:
        self.store, self.times = store, 0

    def collect(self) -> Features:
        self.times += 1
        return Features(PARTS, {}, {"layer": torch.zeros(10)}, {}, {})  # 40 bytes

    def read(self, resolution: int, excerpt: Excerpt | None = PART) -> bool:
        """Whether it was kept."""
        before = self.times
        self.store.get(resolution, excerpt, self.collect)
        return self.times == before


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Collector:
    monkeypatch.setattr(feature_store, "_KEPT_BYTES", 85)
    return Collector(FeatureStore())


def test_resolutions_are_kept_side_by_side_while_there_is_room(kept: Collector) -> None:
    assert not kept.read(0, None)
    assert not kept.read(8)
    assert not kept.read(16)
    assert kept.read(8)
    assert kept.read(16)
    assert not kept.read(24)  # takes the room of 8, which was read first
    assert kept.read(16)
    assert not kept.read(8)
    assert kept.read(0, None)


def test_an_excerpt_is_not_the_whole(kept: Collector) -> None:
    assert not kept.read(8)
    assert not kept.read(8, WHOLE)
    assert kept.read(8, WHOLE)


def test_the_last_one_is_kept_however_large(
    kept: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_store, "_KEPT_BYTES", 1)
    assert not kept.read(8)
    assert kept.read(8)
    assert not kept.read(16)
    assert not kept.read(8)


def test_what_is_forgotten_is_collected_again(kept: Collector) -> None:
    kept.read(0, None)
    kept.read(8)
    kept.store.forget(but=0)
    assert kept.read(0, None)
    assert not kept.read(8)
    kept.store.forget(but=8)
    assert kept.read(8)
    assert not kept.read(0, None)
    kept.store.forget()
    assert not kept.read(8)
