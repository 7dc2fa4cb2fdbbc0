"""Restoring against brute force."""

from __future__ import annotations

from readers import error, made

from automl.compression.importance.energy import greedy_restoring
from automl.compression.importance.uncompensated import summed_gram
from automl.testing.importances import ImportanceContract


def test_each_next_brings_the_outputs_nearest_to_the_dense_ones() -> None:
    readers = [made(6, 2, 4, seed=1), made(6, 1, 3, seed=2)]
    away = list(range(6))

    def off(channels: list[int]) -> float:
        total = 0.0
        for reader in readers:
            weight = reader.weight.clone()
            weight[:, reader.columns[channels].flatten()] = 0.0
            total += error(reader, weight)
        return total

    for channel in greedy_restoring(summed_gram(readers)).tolist():
        without = {each: [other for other in away if other != each] for each in away}
        assert channel == min(away, key=lambda each: off(without[each]))
        away.remove(channel)


class TestEnergy(ImportanceContract):
    name = "energy"
