"""The product of layers' weights computes what they do, as far as it can."""

from __future__ import annotations

import pytest
import torch
from mergeable import MAP, conv, drawn
from torch import nn

from automl.network import composed

PAIRS: dict[str, tuple[tuple[int, ...], list[nn.Module]]] = {
    "1x1 after 3x3": (MAP, [conv(4, 6, 3, padding=1), conv(6, 5)]),
    "3x3 without padding": (MAP, [conv(4, 6, 3, padding=1), conv(6, 5, 3)]),
    "strided": (MAP, [conv(4, 6, 3, padding=1, stride=2), conv(6, 5, 3, stride=2)]),
    "strided 1x1": (MAP, [conv(4, 6, stride=2), conv(6, 5, 3)]),
    "dilated": (MAP, [conv(4, 6, 3, padding=2, dilation=2), conv(6, 5, 3)]),
    "dilated both": (MAP, [conv(4, 6, 3, padding=2, dilation=2), conv(6, 5, 3, dilation=2)]),
    "inverted": (MAP, [conv(4, 12), conv(12, 12, 3, groups=12), conv(12, 5)]),
    "depthwise": (MAP, [conv(4, 4, 3, padding=1, groups=4), conv(4, 4, 3, groups=4)]),
    "multiplied": (MAP, [conv(4, 8, 3, groups=4), conv(8, 5)]),
    "grouped": (MAP, [conv(4, 6, 3, groups=2), conv(6, 8, 3, groups=2)]),
    "two groups and none": (MAP, [conv(4, 6, 3, groups=2), conv(6, 5)]),
    "uneven": (MAP, [nn.Conv2d(4, 6, (3, 1), padding=(1, 0)), nn.Conv2d(6, 5, (1, 3))]),
    "one dimension": ((1, 4, 20), [nn.Conv1d(4, 6, 3, padding=1), nn.Conv1d(6, 5, 3, stride=2)]),
    "linear": ((1, 7, 4), [nn.Linear(4, 9), nn.Linear(9, 3)]),
}


@pytest.mark.parametrize("name", PAIRS)
def test_the_product_is_exact_where_only_the_first_layer_pads(name: str) -> None:
    shape, layers = PAIRS[name]
    network = drawn(nn.Sequential(*layers)).double()
    inputs = torch.randn((2, *shape[1:]), generator=torch.Generator().manual_seed(1)).double()
    torch.testing.assert_close(composed(layers)(inputs), network(inputs))


def test_where_the_second_layer_pads_it_is_exact_but_at_the_borders() -> None:
    layers = [conv(4, 6, 3, padding=1), conv(6, 5, 3, padding=1)]
    network = drawn(nn.Sequential(*layers)).double()
    inputs = torch.randn(MAP, generator=torch.Generator().manual_seed(1)).double()
    found, expected = composed(layers)(inputs), network(inputs)
    inner = (..., slice(1, -1), slice(1, -1))
    torch.testing.assert_close(found[inner], expected[inner])
    apart = (found - expected).abs().amax((0, 1)) > 1e-6
    assert apart[0].all()
    assert apart[:, -1].all()
