"""A policy: what each part of the network becomes. Its file is JSON; reading runs no code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Bits:
    """Precision of one layer: bits of its weights and of its input activations (32 = float)."""

    weights: int = 32
    activations: int = 32


@dataclass(frozen=True, slots=True)
class Policy:
    """What each part becomes. Groups, layers and blocks that are not named stay as they are.

    Attributes:
        channels: Kept channels per channel group.
        removed: Names of the blocks that are left out.
        resolution: Square input size; 0 keeps the dense one.
        bits: Precision per layer.
    """

    channels: Mapping[str, int] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()
    resolution: int = 0
    bits: Mapping[str, Bits] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", MappingProxyType(dict(self.channels)))
        object.__setattr__(self, "bits", MappingProxyType(dict(self.bits)))
        object.__setattr__(self, "removed", frozenset(self.removed))

    def __reduce__(
        self,
    ) -> tuple[type[Policy], tuple[object, ...]]:  # mapping proxies do not pickle
        return Policy, (dict(self.channels), self.removed, self.resolution, dict(self.bits))

    def __hash__(self) -> int:
        chosen = frozenset(self.channels.items()), frozenset(self.bits.items())
        return hash((*chosen, self.removed, self.resolution))
