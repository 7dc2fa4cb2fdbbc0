"""ThiNet's greedy against brute force."""

from __future__ import annotations

import torch
from readers import error, made

from automl.compression.importance.thinet import greedy_removal
from automl.compression.importance.uncompensated import summed_gram
from automl.testing.importances import ImportanceContract


def test_each_next_leaves_the_least_error_of_zeros_together_with_those_before() -> None:
    readers = [made(6, 2, 4, seed=1), made(6, 1, 3, seed=2)]
    order = greedy_removal(summed_gram(readers)).tolist()
    gone: list[int] = []

    def off(channels: list[int]) -> float:
        total = 0.0
        for reader in readers:
            weight = reader.weight.clone()
            weight[:, reader.columns[channels].flatten()] = 0.0
            total += error(reader, weight)
        return total

    for channel in order:
        left = [each for each in range(6) if each not in gone]
        assert channel == min(left, key=lambda each: off([*gone, each]))
        gone.append(channel)


def test_channels_that_cancel_go_together() -> None:
    """Each alone is the costliest; both at once cost nothing."""
    gram = torch.tensor([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, 1.5]])
    assert greedy_removal(gram).tolist() == [0, 1, 2]


class TestThinet(ImportanceContract):
    name = "thinet"
