"""Which modules the identity could replace."""

from __future__ import annotations

import pytest
import torch
from flow_network import traced_small
from torch import Tensor, nn

from automl.network.blocks import removable
from automl.network.trace import record
from automl.network.traced_model import TracedModel


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
    assert removable(record(model, torch.randn(1, 4, 6, 6))) == found


def test_the_innermost_are_taken_in_the_order_in_which_they_run() -> None:
    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.late, self.early = Block("added"), Block("added")

        def forward(self, x: Tensor) -> Tensor:
            return self.late(self.early(x))

    model = nn.Sequential(nn.Conv2d(4, 4, 1), Nested()).eval()
    assert removable(record(model, torch.randn(1, 4, 6, 6))) == ("1.early", "1.late")


def test_a_module_that_runs_twice_is_no_block() -> None:
    shared = Block("added")
    model = nn.Sequential(nn.Conv2d(4, 4, 1), shared, shared).eval()
    assert removable(record(model, torch.randn(1, 4, 6, 6))) == ()
