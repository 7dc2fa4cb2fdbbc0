"""Slices have the supernet's weights, and their gradients go where these are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from automl.network.traced_model import TracedModel, trace_network
from automl.network.unfold import with_norms
from automl.policy.policy import Policy
from automl.recovery.sliced_weights import SlicedWeights

SHAPE = (1, 3, 8, 8)


class Block(nn.Module):
    """Two convolutions with norms around the identity, the first depthwise."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.first_norm = nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.BatchNorm2d(6)
        self.last, self.last_norm = nn.Conv2d(6, 6, 1, bias=False), nn.BatchNorm2d(6)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.last_norm(self.last(F.relu(self.first_norm(self.first(x))))))


class Net(nn.Module):
    """A stem, a wide layer, a block, and a head that reads flattened maps."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8)
        self.wide, self.wide_norm = nn.Conv2d(8, 6, 1), nn.BatchNorm2d(6)
        self.block, self.head = Block(), nn.Linear(54, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.wide_norm(self.wide(F.relu(self.norm(self.stem(x))))))
        return self.head(self.block(x).flatten(1))


@pytest.fixture
def traced() -> TracedModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return trace_network(Net().eval(), SHAPE, resolutions=())


def images(count: int = 16) -> Tensor:
    return torch.randn(count, *SHAPE[1:], generator=torch.Generator().manual_seed(1))


#: Which channels stay, the most important ones first: nested.
ORDER = {"stem": [5, 2, 7, 0, 1, 3, 4, 6], "wide": [4, 0, 2, 1, 3, 5]}


def kept(policy: Policy) -> dict[str, Tensor]:
    return {
        name: torch.tensor(sorted(ORDER[name][:count])) for name, count in policy.channels.items()
    }


def shared_of(traced: TracedModel) -> SlicedWeights:
    return SlicedWeights(with_norms(traced.model, [images()]), traced.network, kept)


POLICIES = {
    "dense": Policy(),
    "narrow": Policy({"stem": 3, "wide": 2}),
    "shallow": Policy({"stem": 5}, removed=("block",)),
}


@pytest.mark.parametrize("name", POLICIES)
def test_weights_are_the_largest_ones(traced: TracedModel, name: str) -> None:
    shared = shared_of(traced)
    whole, part = dict(shared.model.named_parameters()), shared.slice(POLICIES[name])
    found = dict(part.model.named_parameters())
    assert found.keys() == part.places.keys()
    for each, value in found.items():
        assert torch.equal(value, whole[each].view(-1)[part.places[each]]), each
    if name == "narrow":
        assert found["stem.weight"].shape[0] == found["norm.weight"].shape[0] == 3
        assert found["head.weight"].shape[1] == 18


def test_norms_are_sliced_with_their_layers(traced: TracedModel) -> None:
    """In evaluation mode a slice computes what the whole does with all else silent."""
    shared = shared_of(traced)
    part = shared.slice(Policy({"stem": 3})).model.eval()
    masked = shared_of(traced).model.eval()
    gone = [each for each in range(8) if each not in ORDER["stem"][:3]]
    with torch.no_grad():
        masked.get_parameter("wide.weight")[:, gone] = 0
        torch.testing.assert_close(part(images()), masked(images()))


@pytest.mark.parametrize("name", POLICIES)
def test_gradients_are_those_of_the_whole_with_all_else_masked(
    traced: TracedModel, name: str
) -> None:
    """Where a parameter of the slice moves, the whole's value at its place moves the same."""
    shared = shared_of(traced)
    part = shared.slice(POLICIES[name])
    part.model(images()).square().sum().backward()
    shared.add_gradients(part)
    shared.add_gradients(part)  # a second network's are added
    for each, parameter in part.model.named_parameters():
        whole = shared.model.get_parameter(each).grad
        assert whole is not None
        assert parameter.grad is not None
        at = part.places[each].flatten()
        torch.testing.assert_close(whole.view(-1)[at], 2 * parameter.grad.flatten())
        others = torch.ones(whole.numel(), dtype=torch.bool)
        others[at] = False
        assert not whole.view(-1)[others].any()
