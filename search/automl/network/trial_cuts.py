"""Which parts can be cut: they are cut out, and what is left runs beside the masked network."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import torch
from torch import nn

from automl.errors import Raised, attempt
from automl.network.layers import ChannelGroup
from automl.network.outputs import output_tensors
from automl.network.surgery import mask, smaller

Tensor = torch.Tensor
#: Outputs of the cut and of the masked network may differ by this share of what masking changed,
_TOLERANCE = 1e-2
#: and by this share of the output's scale.
_ROUNDING = 2e-5


def unsound_parts(
    model: nn.Module,
    groups: Sequence[ChannelGroup],
    blocks: Collection[str],
    example: Tensor,
    seed: int,
) -> dict[str, str]:
    """Groups and blocks that cannot be cut, with the reason; {} when all of them can.

    Where some cannot, they are found by halving, not by trying each alone; the others may hide
    more, which the next call finds.

    Args:
        model: The network.
        groups: Its channel groups.
        blocks: Names of what can be left out.
        example: An input on which some of the outputs are finite.
        seed: Of the channels that are cut.
    """
    trial = _Trial(model, tuple(groups), example, seed)
    cut = tuple(group.name for group in groups)
    suspects = cut if trial.differs(cut) else (*cut, *blocks)
    if not trial.differs(suspects):
        return {}
    guilty = trial.culprits(suspects, alike=True)
    alone = {part: why for part in guilty if (why := trial.differs((part,)))}
    if alone:
        return alone
    fewest = min(trial.culprits(suspects), trial.culprits(suspects[::-1]), key=len)
    return dict.fromkeys(fewest, "it breaks the network together with other parts")


def _place(part: str) -> str:
    """A part's name without the numbers of the blocks around it."""
    return re.sub(r"\d+", "", part)


def _count(channels: int, number: int) -> int:
    """How many channels the n-th group keeps: each another share, from a half to seven eighths.

    A network that takes one group's size for another's would run where all keep the same share.
    """
    share = (number * (5**0.5 - 1) / 2) % 1.0
    return max(1, round(channels * (0.5 + 0.375 * share)))


class _Trial:
    """Cuts parts out of a model and runs it against the masked model."""

    def __init__(
        self, model: nn.Module, groups: tuple[ChannelGroup, ...], example: Tensor, seed: int
    ) -> None:
        self._model, self._groups, self._example = model, groups, example
        generator = torch.Generator().manual_seed(seed)
        self._kept: dict[str, Tensor] = {}
        for number, group in enumerate(groups):
            order = torch.randperm(group.channels, generator=generator)
            self._kept[group.name] = order[: _count(group.channels, number)].sort().values
        self._dense = self._outputs(model)

    def differs(self, parts: tuple[str, ...]) -> str:
        """Why the network without channels of these groups, or without these blocks, is wrong."""
        kept = {name: self._kept[name] for name in parts if name in self._kept}
        removed = frozenset(parts) - frozenset(kept)
        both = attempt(lambda: self._both(kept, removed))
        if isinstance(both, Raised):
            return "the network no longer runs when it is cut"
        found, expected = both
        if found.shape != expected.shape or expected.shape != self._dense.shape:
            return "the output's shape changes when it is cut"
        numbers = torch.isfinite(self._dense) & torch.isfinite(expected)
        if not numbers.any():
            return "the output is no longer a number when it is cut"
        found, expected, dense = found[numbers], expected[numbers], self._dense[numbers]
        # A wrong cut errs as much as the masking itself changes; rounding does not.
        effect = float((expected - dense).abs().max())
        allowed = _TOLERANCE * effect + _ROUNDING * float(expected.abs().max())
        if not float((found - expected).abs().max()) <= allowed:
            return "what is left when it is cut no longer computes the same"
        return ""

    def culprits(self, parts: tuple[str, ...], *, alike: bool = False) -> list[str]:
        """Parts without which the rest can be cut together, found by halving.

        With `alike` also those at the same place of later blocks, where two there cannot be cut:
        they hardly can, and to find each by halving takes far longer than to try it.
        """
        good: tuple[str, ...] = ()
        guilty: list[str] = []
        while parts and self.differs((*good, *parts)):
            low, high = 0, len(parts)  # the first `low` go well together, the first `high` do not
            while high - low > 1:
                middle = (low + high) // 2
                if self.differs((*good, *parts[:middle])):
                    high = middle
                else:
                    low = middle
            place, later = _place(parts[low]), parts[high:]
            again = alike and any(_place(part) == place for part in guilty)
            same = [part for part in later if again and _place(part) == place]
            guilty += [parts[low], *same]
            good = (*good, *parts[:low])
            parts = tuple(part for part in later if part not in same)
        return guilty

    def _both(self, kept: dict[str, Tensor], removed: frozenset[str]) -> tuple[Tensor, Tensor]:
        """What the cut and the masked network give."""
        groups = self._groups
        cut = smaller(self._model, groups, kept, removed, shared=True)
        found = self._outputs(cut)  # first: what does not run needs not be compared
        return found, self._outputs(mask(self._model, groups, kept, removed, shared=True))

    def _outputs(self, model: nn.Module) -> Tensor:
        with torch.no_grad():
            tensors = output_tensors(model(self._example.clone()))
        return torch.cat([tensor.flatten() for tensor in tensors])
