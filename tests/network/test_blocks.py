"""Which modules the identity could replace."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from flow_network import traced_small
from torch import Tensor, nn

from automl.network.blocks import removable
from automl.network.surgery import smaller
from automl.network.trace import record
from automl.network.traced_model import TracedModel, trace_network


@pytest.fixture(scope="module")
def traced() -> TracedModel:
    return traced_small()


def test_blocks_tell_whose_values_enter_and_leave(traced: TracedModel) -> None:
    ends = [(block.enters, block.leaves) for block in traced.network.blocks]
    assert ends == [("stem", "blocks.0.second"), ("blocks.0.second", "blocks.1.second")]


class Block(nn.Module):
    """What a block does with its input and its branch, by name."""

    def __init__(self, kind: str, width: int = 4) -> None:
        super().__init__()
        self.kind, self.branch = kind, nn.Conv2d(4, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.branch(x)
        if self.kind == "added":
            return torch.relu(x + y)
        if self.kind == "twice":
            return (x + y) + y
        if self.kind == "scaled":
            return 2 * x + y
        if self.kind == "multiplied":
            return x * y
        if self.kind == "concatenated":
            return torch.cat((x, y), 1)
        return y


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("added", ("0",)),
        ("twice", ("0",)),
        ("scaled", ()),
        ("multiplied", ()),
        ("concatenated", ()),
        ("straight", ()),
    ],
)
def test_a_block_is_its_input_plus_something(kind: str, found: tuple[str, ...]) -> None:
    model = nn.Sequential(Block(kind)).eval()
    assert tuple(removable(record(model, torch.randn(1, 4, 6, 6)))) == found


def test_the_innermost_are_taken_in_the_order_in_which_they_run() -> None:
    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.late, self.early = Block("added"), Block("added")

        def forward(self, x: Tensor) -> Tensor:
            return self.late(self.early(x))

    model = nn.Sequential(nn.Conv2d(4, 4, 1), Nested()).eval()
    assert tuple(removable(record(model, torch.randn(1, 4, 6, 6)))) == ("1.early", "1.late")


def test_a_module_that_runs_twice_is_no_block() -> None:
    shared = Block("added")
    model = nn.Sequential(nn.Conv2d(4, 4, 1), shared, shared).eval()
    assert not removable(record(model, torch.randn(1, 4, 6, 6)))


class Called(nn.Module):
    """A network of three blocks, each called in the way of the test."""

    def __init__(self, block: type[nn.Module], call: Callable[..., Tensor]) -> None:
        super().__init__()
        self.stem, self.side = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
        self.blocks = nn.ModuleList(block() for _ in range(3))
        self.call, self.head = call, nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y, x = self.side(x), self.stem(x)
        for block in self.blocks:
            x = self.call(block, x, y)
        return self.head(x * y.mean())


class Two(nn.Module):
    """The second argument is a rate, nothing, or a tensor that the branch reads."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor, other: Tensor | float | None = None) -> Tensor:
        inner = x if other is None else x * other
        return x + self.branch(inner)


class Late(Two):
    """What passes through comes second."""

    def forward(self, other: Any, x: Any = None) -> Tensor:
        return super().forward(x, other)


class Telling(Two):
    """Gives a tuple with one tensor, as the layers of Hugging Face's encoders do."""

    def forward(self, x: Tensor, other: Any = None) -> Any:
        return super().forward(x, other), None


class Named(Two):
    """Gives a dict with one tensor."""

    def forward(self, x: Tensor, other: Any = None) -> Any:
        return {"x": super().forward(x, other), "rate": 0.5}


CALLS: dict[str, tuple[type[nn.Module], Callable[..., Tensor]]] = {
    "a rate": (Two, lambda block, x, y: block(x, 0.2)),
    "a rate by name": (Two, lambda block, x, y: block(x, other=0.2)),
    "nothing": (Two, lambda block, x, y: block(x, None)),
    "all by name": (Two, lambda block, x, y: block(other=None, x=x)),
    "a constant": (Two, lambda block, x, y: block(x, torch.ones(4, 1, 1))),
    "a tensor": (Two, lambda block, x, y: block(x, y)),
    "a tensor first": (Late, lambda block, x, y: block(y, x)),
    "a tensor by name": (Late, lambda block, x, y: block(other=y, x=x)),
    "a tuple": (Telling, lambda block, x, y: block(x, 0.2)[0]),
    "a dict": (Named, lambda block, x, y: block(x)["x"]),
}


@pytest.mark.parametrize("kind", CALLS)
def test_a_block_may_take_and_give_more_than_a_tensor(kind: str) -> None:
    block, call = CALLS[kind]
    model = Called(block, call).eval()
    traced = trace_network(model, (1, 3, 6, 6), resolutions=())
    names = [block.name for block in traced.network.blocks]
    assert names == ["blocks.0", "blocks.1", "blocks.2"]
    assert "blocks.1.branch" in traced.network.blocks[1].layers
    ends = [(block.enters, block.leaves) for block in traced.network.blocks]
    assert ends == list(itertools.pairwise(("stem", *(f"{name}.branch" for name in names))))
    small = smaller(traced.model, traced.network.groups, {}, frozenset({"blocks.0", "blocks.2"}))
    model.blocks = model.blocks[1:2]
    example = torch.randn(2, 3, 6, 6)
    for each in (small, copy.deepcopy(small)):
        torch.testing.assert_close(each(example), model(example))


class Sum(nn.Module):
    """Adds two tensors: neither passes through it more than the other."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Reading(nn.Module):
    """Adds to its first input what it makes of the second."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + self.branch(y)


@pytest.mark.parametrize("block", [Sum, Reading])
def test_without_a_block_nothing_may_be_computed_in_vain(block: type[nn.Module]) -> None:
    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.side, self.join = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), block()

        def forward(self, x: Tensor) -> Tensor:
            return self.join(self.stem(x), self.side(x))

    assert not removable(record(Joined().eval(), torch.randn(1, 3, 6, 6)))


class Hourglass(nn.Module):
    """Down and up again twice, what comes up added to what went down: LinkNet's way."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(8, 8, 3, 2, 1) for _ in range(2))
        self.inner = nn.ModuleList(Block("added", 8) for _ in range(2))
        ups = (nn.Sequential(nn.ConvTranspose2d(8, 8, 2, 2), nn.ReLU()) for _ in range(2))
        self.up = nn.ModuleList(ups)
        for block in self.inner:
            block.branch = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = torch.relu(self.stem(x))
        second = self.inner[0](torch.relu(self.down[0](first)))
        third = self.inner[1](torch.relu(self.down[1](second)))
        second = self.up[0](third) + second
        return self.head(self.up[1](second) + first)


def test_what_is_left_of_an_hourglass_depends_on_each_part_alone() -> None:
    traced = trace_network(Hourglass().eval(), (1, 3, 16, 16), resolutions=())
    names = [block.name for block in traced.network.blocks]
    assert {"inner.0", "inner.1"} <= {*names}
    for count in range(len(names) + 1):
        for removed in itertools.combinations(names, count):
            small = smaller(traced.model, traced.network.groups, {}, frozenset(removed))
            alive = record(small, torch.zeros(1, 3, 16, 16), labelled=False).alive()
            layers = traced.network.shapes({}, frozenset(removed))
            read = {call.step.module for call in alive if call.step.module}
            weighted = {layer.name for layer in layers if layer.macs}
            assert weighted == {
                name for name in read if hasattr(small.get_submodule(name), "weight")
            }
