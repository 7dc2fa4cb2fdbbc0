"""A recovery that begins with the dense network's first weights: a lottery ticket."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from automl.errors import UsageError
from automl.recovery.base import Beginning, Start
from automl.userdata import read_weights

Tensor = torch.Tensor


class Rewind(Start):
    """What was left of the network, with the weights that it had early (Frankle and Carbin, 2019).

    The policy's channels are those of the trained network; their weights go back to the file's.
    Weights that are zero stay zero.

    Args:
        weights: File of the state dict that the dense network had before training, or early in it.
    """

    def __init__(self, weights: str = "") -> None:
        if not weights:
            raise UsageError(
                "the start rewind has to be told the network's first weights:"
                " rewind:weights=first.pt"
            )
        self._path = Path(weights)

    def check(self, dense: Mapping[str, Tensor]) -> None:
        """See that the file has the dense network's weights.

        Raises:
            ModelError: It cannot be read.
            UsageError: It is of another network.
        """
        found = self._read()
        for name, value in dense.items():
            if name not in found:
                raise UsageError(f"{self._path} has no {name!r}: it is of another network")
            if found[name].shape != value.shape:
                raise UsageError(
                    f"{self._path}: {name} is of shape {tuple(found[name].shape)}, and the"
                    f" network's of {tuple(value.shape)}"
                )

    @torch.no_grad()
    def begin(self, beginning: Beginning) -> None:
        """Put them in, but for zeros.

        Raises:
            ModelError: The file cannot be read.
            UsageError: Nobody knows which of its weights stay.
        """
        if beginning.cut is None:
            raise UsageError("nobody knows which weights of the dense network this one has")
        values = beginning.cut(self._read())
        for name, held in beginning.student.state_dict().items():
            first = values[name].to(held)
            zeros = name.endswith("weight") and held.dim() > 1
            held.copy_(torch.where(held == 0, held, first) if zeros else first)

    def _read(self) -> dict[str, Tensor]:
        found = read_weights(self._path)
        if not isinstance(found, dict) or not all(
            isinstance(value, Tensor) for value in found.values()
        ):
            raise UsageError(f"{self._path} holds no state dict: names with tensors")
        return found
