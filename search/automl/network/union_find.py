"""Labels and which of them are one: classes of channels, and why some of them stay."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

Tensor = torch.Tensor
NONE = 0  #: the label of what is no channel: constants, padding, values we cannot follow


class UnionFind:
    """Union-find over labels, each class with at most one reason why it is unprunable."""

    def __init__(self) -> None:
        self._parent = [NONE]
        self._frozen: dict[int, str] = {NONE: ""}
        self._roots: NDArray[np.int64] | None = None  # by label, while nothing is joined

    def __len__(self) -> int:
        return len(self._parent)

    def settle(self) -> None:
        """Nothing is joined for a while: all that is asked for now is found at once."""
        roots = np.array(self._parent, dtype=np.int64)
        while not np.array_equal(roots[roots], roots):
            roots = roots[roots]
        self._parent, self._roots = roots.tolist(), roots

    def fresh(self, count: int) -> Tensor:
        """New labels, one per channel."""
        self._roots = None
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        return torch.arange(first, first + count)

    def root(self, label: int) -> int:
        """The label that stands for its class."""
        parent = self._parent
        while parent[label] != label:
            parent[label] = parent[parent[label]]
            label = parent[label]
        return label

    def roots(self, labels: Tensor | NDArray[np.int64]) -> NDArray[np.int64]:
        """`root` of every label of a vector."""
        if self._roots is not None:
            found: NDArray[np.int64] = self._roots[np.asarray(labels).reshape(-1)]
            return found
        values = labels.flatten().tolist()
        return np.array([self.root(int(label)) for label in values], dtype=np.int64)

    def join(self, left: Tensor, right: Tensor, reason: str) -> None:
        """Make the labels at equal places of two tensors one; what joins `NONE` is unprunable."""
        if left is right:
            return
        base = len(self._parent)
        pairs = np.unique(core(left).numpy() * base + core(right).numpy())
        for pair in pairs.tolist():
            a, b = divmod(pair, base)
            first, second = sorted((self.root(a), self.root(b)))
            if first == second:
                continue
            if first == NONE:
                self._frozen.setdefault(second, reason)
                continue
            self._parent[second], self._roots = first, None
            if second in self._frozen:
                self._frozen.setdefault(first, self._frozen.pop(second))

    def freeze(self, labels: Tensor, reason: str) -> None:
        """These channels stay."""
        for label in np.unique(core(labels).numpy()).tolist():
            self._frozen.setdefault(self.root(label), reason)

    def unprunable(self, root: int) -> str | None:
        """Why a class is unprunable; None where it is not."""
        return self._frozen.get(root)


def core(labels: Tensor) -> Tensor:
    """A compact label tensor with every dimension along which it does not change of length 1."""
    for dim, (extent, stride) in enumerate(zip(labels.shape, labels.stride(), strict=True)):
        if extent > 1 and stride == 0:
            labels = labels.narrow(dim, 0, 1)
    return labels
