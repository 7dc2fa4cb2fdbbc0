"""An importance of another package is found by its name, and decides what goes."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint

import pytest
import torch
from compressed import images_for
from small import MAP, Plain, seeded
from torch import Tensor

from automl.compression.compressor import Compressor
from automl.compression.config import CompressionConfig
from automl.compression.importance.base import Importance
from automl.compression.importance.channel_statistics import ChannelStatistics
from automl.compression.importance.elimination import Reader
from automl.compression.importance.registry import IMPORTANCES
from automl.methods import registry
from automl.network.layers import ChannelGroup
from automl.network.traced_model import trace_network
from automl.policy.policy import Policy


class LastFirst(Importance):
    """The last channels go first, but for some."""

    def __init__(self, held: int = 0) -> None:
        self._held = held

    def order(
        self, group: ChannelGroup, readers: Sequence[Reader], statistics: ChannelStatistics
    ) -> Tensor:
        order = torch.arange(group.channels).flip(0)
        return torch.cat([order[self._held :], order[: self._held]])


def test_the_registry_is_found_by_its_kind() -> None:
    assert registry("importances") is IMPORTANCES
    assert IMPORTANCES.names()[0] == "obs"


def test_another_packages_importance_decides_what_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("last-first", f"{__name__}:LastFirst", "automl.importances")
    monkeypatch.setattr(IMPORTANCES, "_added", {"last-first": point})
    traced = trace_network(seeded(Plain), MAP, resolutions=())
    for text, kept in (("last-first", [0, 1, 2]), ("last-first:held=2", [0, 6, 7])):
        config = CompressionConfig(importance=text)
        made = Compressor(traced, images_for(MAP, 8), {"first": (3,)}, config=config)
        assert made.database.kept(Policy({"first": 3}))["first"].tolist() == kept
        assert made.make(Policy({"first": 3})).get_submodule("first").weight.shape[0] == 3  # type: ignore[union-attr,index]
    assert [each.name for each in IMPORTANCES.describe()] == [*IMPORTANCES.ours, "last-first"]
