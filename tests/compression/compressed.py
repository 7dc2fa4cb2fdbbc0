"""What the tests of compression share: the zoo, read; calibration images; random policies."""

from __future__ import annotations

import copy
import importlib.util
import random
import sys
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from automl.compression.compressor import Compressor
from automl.compression.database import Database, write_patch
from automl.network.surgery import mask
from automl.network.traced_model import TracedModel
from automl.policy.policy import Policy

_NETWORK = Path(__file__).parents[1] / "network"
if str(_NETWORK) not in sys.path:
    sys.path.append(str(_NETWORK))
_spec = importlib.util.spec_from_file_location("zoo_read", _NETWORK / "specimens.py")
assert _spec is not None
assert _spec.loader is not None
zoo_read = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = zoo_read
_spec.loader.exec_module(zoo_read)

NAMES: tuple[str, ...] = tuple(zoo_read.NETWORKS)


def images_for(shape: tuple[int, ...], count: int, seed: int = 0) -> Tensor:
    """Random inputs of a network."""
    return torch.randn((count, *shape[1:]), generator=torch.Generator().manual_seed(seed))


def read(name: str) -> TracedModel:
    """A network of the zoo, read once."""
    traced: TracedModel = zoo_read.specimen(name).traced
    return traced


@cache
def compressor(name: str, images: int = 24) -> Compressor:
    """A compressor of a network of the zoo that knows every count its groups can keep."""
    traced = read(name)
    counts = {
        group.name: tuple(range(group.partition, group.channels + 1, group.partition))
        for group in traced.network.groups
    }
    return Compressor(traced, images_for(traced.network.input_shape, images), counts)


def random_policy(traced: TracedModel, seed: int) -> Policy:
    """Some channels of about every group, some blocks left out, a resolution."""
    chance, network = random.Random(seed), traced.network
    channels = {
        group.name: chance.randrange(group.partition, group.channels + 1, group.partition)
        for group in network.groups
    }
    removed = frozenset(block.name for block in network.blocks if chance.random() < 0.4)
    several = len(network.resolutions) > 1
    return Policy(channels, removed, chance.choice(network.resolutions) if several else 0)


def outputs_of(model: nn.Module, images: Tensor) -> Tensor:
    """All outputs of a model, one row an image."""
    with torch.no_grad():
        leaves = tree_leaves(model(images))
    return torch.cat([leaf.reshape(images.shape[0], -1) for leaf in leaves], 1)


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(before: dict[str, Tensor], model: nn.Module) -> bool:
    after = model.state_dict()
    return before.keys() == after.keys() and all(
        torch.equal(value, after[name]) for name, value in before.items()
    )


def masked(database: Database, policy: Policy) -> nn.Module:
    """The dense network with the database's weights in it, and nothing read from what is gone."""
    model = copy.deepcopy(database.model)
    for name, patch in database.patches(policy).items():
        write_patch(model.get_submodule(name), patch)
    return mask(model, database.network.groups, database.kept(policy), policy.removed)


class Multiplied(TorchDispatchMode):
    """Counts the layers' operations that are run."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.layers = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.layers += func.overloadpacket.__name__ in ("convolution", "addmm")
        return func(*args, **(kwargs or {}))
