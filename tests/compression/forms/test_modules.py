"""What forms run as beside convolutions."""

import pytest
import torch
from torch import nn

from automl.compression.forms.modules import Added, Picked


def test_what_is_added_reads_the_same() -> None:
    one, two, three = (nn.Linear(2, 3) for _ in range(3))
    inputs = torch.randn(4, 2)
    with torch.no_grad():
        found = Added([one, two, three])(inputs)
        torch.testing.assert_close(found, one(inputs) + two(inputs) + three(inputs))


@pytest.mark.parametrize(("shape", "dim"), [((2, 3, 4, 4), 1), ((2, 3, 4), 1), ((2, 5, 3), -1)])
def test_channels_are_picked_by_their_numbers(shape: tuple[int, ...], dim: int) -> None:
    inputs, index = torch.randn(shape), torch.tensor([2, 0, 0, 1])
    made = Picked(index, dim)
    found = made(inputs)
    for place, channel in enumerate(index.tolist()):
        assert torch.equal(found.select(dim, place), inputs.select(dim, channel))
    assert torch.equal(made.state_dict()["index"], index)
