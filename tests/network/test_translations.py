"""Sizes that calls name, as what is left of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from automl.network.translations import TRANSLATIONS, view_sizes

X = torch.zeros(2, 7)  # of twelve channels: 2 + 4 + 1 are left of three times four


@pytest.mark.parametrize(
    ("kind", "args", "kwargs"),
    [
        ("split", (4, 1), {}),
        ("split", ([4, 4, 4],), {"dim": 1}),
        ("chunk", (3, 1), {}),
        ("chunk", (), {"chunks": 3, "dim": -1}),
        ("tensor_split", (3, 1), {}),
        ("tensor_split", ((4, 8),), {"dim": 1}),
        ("tensor_split", (torch.tensor([4, -4]), 1), {}),
    ],
)
def test_parts_are_what_is_left_of_each(
    kind: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    found, _ = TRANSLATIONS[kind]([X, *args], kwargs, {0: (4, 2), 2: (4, 1)})
    assert [part.shape[1] for part in torch.Tensor.split(*found)] == [2, 4, 1]


def test_uneven_parts() -> None:
    extents = {0: (4, 2), 2: (3, 1)}
    found, _ = TRANSLATIONS["chunk"]([X, 3, 1], {}, extents)  # eleven channels in three parts
    assert found[1] == [2, 4, 1]
    found, _ = TRANSLATIONS["tensor_split"]([X, 3, 1], {}, extents)
    assert found[1] == [2, 4, 1]


def test_sizes_of_views_however_they_are_given() -> None:
    for kind, args, kwargs in (
        ("named", (2, 3, 4), {}),
        ("named", ((2, 3, 4),), {}),
        ("named", (), {"shape": (2, 3, 4)}),
        ("unflattened", (1, (3, 4)), {}),
        ("unflattened", (), {"dim": -1, "sizes": (3, 4)}),
    ):
        assert view_sizes(kind, (X, *args), kwargs) == [2, 3, 4]
