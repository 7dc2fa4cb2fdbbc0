"""Parts in whose place something else can run, or nothing, as plain values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MergeableLayers:
    """Layers that follow each other and can become one, which drops what is between them.

    Attributes:
        name: Of the first.
        chain: All of them, in their order: two, or more where those between are depthwise.
        layers, groups: Names of priced layers and channel groups that no longer are.
        addition: Name of the addition, as a priced layer, of what the first reads to what the last
            writes: the one layer can compute that as well. "" where there is none, or it stays.
    """

    name: str
    chain: tuple[str, ...]
    layers: tuple[str, ...]
    groups: tuple[str, ...]
    addition: str = ""

    @property
    def gone(self) -> tuple[str, ...]:
        """Priced layers that do not run when these are one, which adds what it reads itself."""
        return (*self.layers, *filter(None, [self.addition]))

    @property
    def last(self) -> str:
        """The layer in whose place the one runs: the one has its bits."""
        return self.chain[-1]

    def holds(self, writer: str, reader: str) -> bool:
        """Whether a value is between these layers: there is none such when they are one.

        Args:
            writer: The layer in whose precision it is written.
            reader: The layer that takes it in itself, "" where something else does.
        """
        return writer in self.chain[:-1] or reader in self.chain[1:]


@dataclass(frozen=True, slots=True)
class Gate:
    """A module that multiplies each channel of its map by a number that it makes of the map.

    Attributes:
        name: Dotted name of the module: without it, what enters it leaves it.
        chain: Its layers with weights, in the order in which they run.
        layers: Names of the priced layers that go with it.
        readers: The convolutions that read what it writes: nothing else does.
    """

    name: str
    chain: tuple[str, ...]
    layers: tuple[str, ...]
    readers: tuple[str, ...]
