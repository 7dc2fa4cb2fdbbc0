"""Where channels are looked at."""

from __future__ import annotations

from typing import Any

import torch
from ranked import compressor_for, group_of, images_of
from small import Joined, Shortcuts, seeded
from torch import Tensor, nn
from torch.nn import functional as F


def test_a_residual_stream_is_looked_at_wherever_it_is_read() -> None:
    made = compressor_for(seeded(Shortcuts), images_of(4))
    found = made.statistics.activations(group_of(made, "stem"))
    assert len(found) == 3  # the stem's ReLU, and those behind two blocks
    assert all(each.rectified for each in found)
    assert len({float(each.mean.sum()) for each in found}) == 3


def test_pools_between_a_relu_and_its_reader_are_passed_over() -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6 * 9, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(F.max_pool2d(F.relu6(self.conv(x)), 2).flatten(1))  # type: ignore[no-any-return]

    model, images = seeded(Pooled), images_of(4)
    made = compressor_for(model, images)
    (found,) = made.statistics.activations(group_of(made, "conv"))
    with torch.no_grad():
        values = F.relu6(model.conv(images)).flatten(2)  # type: ignore[operator]
    assert found.rectified
    torch.testing.assert_close(found.zeros, (values == 0).float().mean(2))


def test_groups_that_are_joined_are_told_apart() -> None:
    model: Any = seeded(Joined)
    images = images_of(4)
    made = compressor_for(model, images)
    (left,), (right,) = (
        made.statistics.activations(group_of(made, name)) for name in ("left", "right")
    )
    with torch.no_grad():
        expected = (
            F.relu(model.left(images)).mean((2, 3)),
            torch.tanh(model.right(images)).mean((2, 3)),
        )  # type: ignore[operator]
    torch.testing.assert_close((left.mean, right.mean), expected)
    assert (left.rectified, right.rectified) == (True, False)
