"""Which channels belong together."""

from __future__ import annotations

from itertools import combinations

import torch

from automl.compression.forms.grouping import partition, within


def drawn(outputs: int, inputs: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A 1 x 1 kernel, and a metric in which inputs are alike."""
    generator = torch.Generator().manual_seed(seed)
    kernel = torch.randn(outputs, inputs, 1, 1, generator=generator, dtype=torch.float64)
    rows = torch.randn(100, inputs, generator=generator, dtype=torch.float64)
    mixed = rows @ torch.randn(inputs, inputs, generator=generator, dtype=torch.float64)
    return kernel, mixed.T @ mixed / 100


def error(
    kernel: torch.Tensor, metric: torch.Tensor, reads: torch.Tensor, writes: torch.Tensor
) -> float:
    gap = kernel.flatten(1).clone()
    for read, own, values in zip(reads, writes, within(kernel, metric, reads, writes), strict=True):
        gap[own[:, None], read] -= values.flatten(1)
    return float(((gap @ metric) * gap).sum())


def test_it_is_near_the_best_of_all_partitions() -> None:
    ratios = []
    for seed in range(6):
        kernel, metric = drawn(6, 6, seed)
        halves = [torch.tensor(each) for each in combinations(range(6), 3)]
        both = [
            torch.stack([each, other]) for each, other in zip(halves, halves[::-1], strict=True)
        ]
        best = min(error(kernel, metric, read, own) for read in both for own in both)
        ratios.append(error(kernel, metric, *partition(kernel, metric, 2)) / best)
    assert min(ratios) < 1 + 1e-9
    assert sum(ratios) / 6 < 1.25


def test_parts_that_are_apart_stay_together_and_the_rest_fills_what_is_left() -> None:
    kernel = torch.zeros(6, 6, 1, 1, dtype=torch.float64)
    kernel[torch.tensor([[0], [3]]), torch.tensor([5, 1])] = 1.0
    kernel[4, 2] = kernel[1, 0] = 2.0
    reads, writes = partition(kernel, None, 3)
    pairs = [
        (set(read.tolist()), set(own.tolist())) for read, own in zip(reads, writes, strict=True)
    ]
    assert ({1, 5}, {0, 3}) in pairs
    assert torch.equal(reads.flatten().sort().values, torch.arange(6))
    assert torch.equal(writes.flatten().sort().values, torch.arange(6))
    inside = within(kernel, None, reads, writes)
    assert float(inside.square().sum()) == float(kernel.square().sum())


def test_what_is_linked_too_widely_is_divided_where_least_is_lost() -> None:
    kernel, _ = drawn(8, 4, 0)
    kernel[:4, :2] *= 10.0
    kernel[4:, 2:] *= 10.0
    reads, writes = partition(kernel, torch.eye(4, dtype=torch.float64), 2)
    assert sorted(map(sorted, reads.tolist())) == [[0, 1], [2, 3]]
    assert sorted(map(sorted, writes.tolist())) == [[0, 1, 2, 3], [4, 5, 6, 7]]
