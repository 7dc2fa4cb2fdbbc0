"""Features kept for whoever reads them again: they take hundreds of megabytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from automl.compression.statistics import Excerpt, Features

#: Bytes of excerpts that are kept; the last one is, however large.
_KEPT_BYTES: Final = 1 << 28
#: A resolution, 0 for the dense one, and how much of its features; None for all.
_Key = tuple[int, Excerpt | None]


class FeatureStore:
    """Features of one network by resolution and extent.

    Those of the dense resolution stay. Of others, excerpts stay while there is room, those that
    were read last before the rest.
    """

    def __init__(self) -> None:
        self._dense: Features | None = None
        self._excerpts: dict[_Key, Features] = {}

    def get(
        self, resolution: int, excerpt: Excerpt | None, collect: Callable[[], Features]
    ) -> Features:
        """What is kept, or collected now.

        Args:
            resolution: 0 for the dense one, whose features are whole.
            excerpt: How much of another's; None for all.
            collect: Collects them.
        """
        if not resolution:
            if self._dense is None:
                self._dense = collect()
            return self._dense
        key = (resolution, excerpt)
        found = self._excerpts.pop(key, None) or collect()
        self._excerpts[key] = found  # the last in order
        room = _KEPT_BYTES - size_of(found)
        for other in [each for each in reversed(self._excerpts) if each != key]:
            room -= size_of(self._excerpts[other])
            if room < 0:
                del self._excerpts[other]
        return found

    def let_go(self) -> None:
        """Drop the moments of the dense resolution; they are collected again if asked for."""
        if self._dense is not None:
            self._dense.let_go()

    def forget(self, but: int | None = None) -> None:
        """Let go of all features, but those of a resolution (0 for the dense one)."""
        if but != 0:
            self._dense = None
        for key in [each for each in self._excerpts if each[0] != but]:
            del self._excerpts[key]


def size_of(features: Features) -> int:
    """Bytes of what is kept of targets and places."""
    kept = (*features.targets.values(), *features.chosen.values())
    return sum(each.numel() * each.element_size() for each in kept)
