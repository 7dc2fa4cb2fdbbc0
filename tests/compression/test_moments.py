"""Second moments: summed batch by batch, and no more of them held than fit."""

from __future__ import annotations

from collections.abc import Collection

import pytest
import torch

from automl.compression.moments import (
    Moments,
    RunMoments,
    StreamedMoments,
    gram,
    held_bytes,
    with_ones,
)

SIZES = {"a": 40, "b": 30, "c": 50, "d": 20}


def streamed(limit: int) -> tuple[StreamedMoments, list[list[str]]]:
    walks: list[list[str]] = []

    def collect(names: Collection[str]) -> dict[str, Moments]:
        walks.append(list(names))
        return {name: Moments(torch.full((1, 1, 1), float(ord(name)))) for name in names}

    return StreamedMoments(SIZES, limit, collect), walks


def test_the_blocks_of_a_wide_gram_are_those_of_the_product() -> None:
    rows = torch.randn(2, 50, 300, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(gram(rows), rows.transpose(1, 2) @ rows, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("columns", [3, 127, 128, 300])
def test_half_of_the_moments_is_held_and_the_whole_is_what_was_summed(columns: int) -> None:
    generator = torch.Generator().manual_seed(1)
    parts = [torch.randn(count, 2, columns, generator=generator) for count in (50, 20)]
    found = Moments.none(2, columns + 1)
    for part in parts:
        found.add(part)
    expected = sum(gram(with_ones(part)).double() for part in parts)
    assert torch.equal(found.total, expected)
    assert torch.equal(RunMoments(found, 1).whole(), expected[1])
    assert found.rows == 70
    held = sum(block.nbytes for block in found._blocks)
    assert held == held_bytes(2, columns + 1)
    assert columns < 300 or held < 0.75 * expected.nbytes
    assert torch.equal(Moments(expected, 70).total, expected)


def test_with_ones_puts_the_bias_column_last() -> None:
    rows = torch.arange(12.0).view(3, 2, 2)
    wide = with_ones(rows)
    assert wide.shape == (2, 3, 3)
    assert wide[1].tolist() == [[2, 3, 1], [6, 7, 1], [10, 11, 1]]


def test_one_walk_is_enough_where_all_fit() -> None:
    moments, walks = streamed(140)
    assert moments.fitting() == ("a", "b", "c", "d")
    assert [float(moments[name].total) for name in moments] == [97, 98, 99, 100]
    assert walks == [["a", "b", "c", "d"]]


@pytest.mark.parametrize("limit", [70, 100, 139])
def test_no_more_are_held_than_fit_and_few_walks_are_made(limit: int) -> None:
    moments, walks = streamed(limit)
    for name in moments:
        assert float(moments[name].total) == ord(name)
        assert sum(SIZES[held] for held in moments.held) <= limit
    assert len(walks) == 2


def test_what_is_asked_for_together_is_held_together_even_beyond_the_limit() -> None:
    moments, walks = streamed(60)
    moments.hold(["d", "a", "unknown"])
    moments.hold(["a"])
    assert set(moments.held) == {"a", "d"}
    moments.hold(["a", "c"])
    assert set(moments.held) == {"a", "c"}
    assert walks == [["d", "a"], ["c"]]


def test_a_layer_that_is_dropped_is_known_no_longer() -> None:
    moments, _ = streamed(140)
    moments.hold(["a"])
    moments.drop("a")
    assert list(moments) == ["b", "c", "d"]
    assert moments.get("a") is None


def test_of_a_tightened_limit_the_first_ones_stay() -> None:
    moments, walks = streamed(140)
    moments.hold(moments)
    moments.tighten(80)
    assert list(moments.held) == ["a", "b"]
    moments.tighten(1000)
    moments.hold(["c"])
    assert (set(moments.held), walks[1:]) == ({"c", "d"}, [["c", "d"]])
