"""Sizes of the batch and of channels that a program was exported with."""

from __future__ import annotations

import pytest
import torch
from exported_networks import exported
from torch import Tensor, fx, nn

from automl.errors import ModelError
from automl.userdata.exported import from_exported
from automl.userdata.exported_batch import Batch, check_batches, free_batch, free_channels


class Sizes(nn.Module):
    """Reads its batch's size for views, and for a constant that each image gets."""

    def __init__(self, folded: bool) -> None:
        super().__init__()
        self.folded, self.fc = folded, nn.Linear(8, 4)
        self.own = nn.Parameter(torch.rand(1, 2, 8))

    def forward(self, x: Tensor) -> Tensor:
        count = x.shape[0]
        if self.folded:  # parts of images become images
            x = x.reshape(count * 2, 3, 8)
            x = self.fc(x).reshape(count, 6, 4)
            return x.mean(1)
        x = torch.cat([x.reshape(count, 6, 8), self.own.expand(count, 2, 8)], 1)
        return self.fc(x).reshape(count, -1) + torch.zeros(count, 32)


@pytest.mark.parametrize("images", [1, 2, 3])
@pytest.mark.parametrize("folded", [False, True])
def test_a_batch_of_another_size_passes(folded: bool, images: int) -> None:
    torch.manual_seed(0)
    model = Sizes(folded).eval()
    network = from_exported(exported(model, torch.randn(images, 6, 2, 4)))
    for count in (1, 4, 5):
        inputs = torch.randn(count, 6, 2, 4)
        torch.testing.assert_close(network(inputs), model(inputs))


def test_a_program_of_any_batch_is_left_alone() -> None:
    program = exported(Sizes(False).eval(), torch.randn(2, 6, 2, 4), form="any")
    graph = program.module().graph
    before = str(graph)
    assert free_batch(graph) == Batch(0)
    assert str(graph) == before


def test_the_number_of_heads_stays_open() -> None:
    graph = fx.Graph()
    read = graph.placeholder("x")
    read.meta["val"] = torch.zeros(2, 5, 24)
    view = graph.call_function(torch.ops.aten.view.default, (read, [2, 5, 3, 2, 4]))
    view.meta["val"] = torch.zeros(2, 5, 3, 2, 4)
    back = graph.call_function(torch.ops.aten.reshape.default, (view, [2, 5, 24]))
    back.meta["val"] = torch.zeros(2, 5, 24)
    free_channels(graph)
    assert view.args[1] == [2, 5, 3, -1, 4]
    assert back.args[1] == [2, 5, -1]


def test_images_that_know_of_each_other_are_refused() -> None:
    class Mean(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x - x.mean()

    batch = Batch(2, (((2, 3), torch.float32),))
    with pytest.raises(ModelError, match="takes batches of 2 alone"):
        check_batches(Mean(), Mean(), batch)
    check_batches(nn.ReLU(), nn.ReLU(), batch)
