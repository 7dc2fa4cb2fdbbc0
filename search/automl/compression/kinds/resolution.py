"""The input's resolution: the images are resized, the network stays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from automl.compression.kinds.base import Bench, CompressionKind, Measurer, OneByOne
from automl.errors import SpaceError
from automl.network import Block, LayerPlan, Network
from automl.policy import Policy
from automl.space import Space, SpaceSettings, Variable

if TYPE_CHECKING:
    from torch import Tensor


class ResolutionKind(CompressionKind[int]):
    """The size of the network's square input; its one part is the network, ""."""

    name = "resolution"
    ordered = True

    def variables(self, network: Network, settings: SpaceSettings) -> Sequence[Variable]:
        """One, where there is more than one size."""
        sizes = _sizes(network, settings.resolutions)
        return [Variable(self.name, "", sizes)] if len(sizes) > 1 else []

    def format(self, option: int) -> str:
        """Pixels a side."""
        return str(option)

    def parse(self, text: str) -> int:
        """Pixels a side."""
        return int(text)

    def inside(self, block: Block) -> Sequence[str]:
        """Nothing: the resolution is the whole network's."""
        return ()

    def is_at(self, plan: LayerPlan, part: str) -> bool:
        """Any layer is: the first stands for the network."""
        return True

    def chosen(self, policy: Policy) -> Mapping[str, int]:
        """The policy's own field."""
        return {"": policy.resolution} if policy.resolution else {}

    def policy(self, options: Mapping[str, int]) -> Policy:
        """The policy's own field."""
        return Policy(resolution=options[""])

    def measurer(self, space: Space, bench: Bench) -> Measurer:
        """The dense network on images of another size."""
        return OneByOne(bench, _resized)


@contextmanager
def _resized(bench: Bench, part: str, resolution: int) -> Iterator[Tensor]:
    from automl.compression.resizing import resized

    yield resized(bench.images, resolution)


def _sizes(network: Network, wanted: Sequence[int] | None) -> tuple[int, ...]:
    if wanted is None:
        return network.resolutions
    unknown = sorted(set(wanted) - set(network.resolutions))
    if unknown:
        known = ", ".join(map(str, network.resolutions))
        raise SpaceError(f"the network does not run at resolution {unknown[0]}: it has {known}")
    return tuple(sorted({*wanted, network.resolutions[-1]})) if network.resolutions else ()
