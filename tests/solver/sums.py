"""Sums of small tables that are drawn, and all their assignments, for the solver's tests."""

from __future__ import annotations

import itertools

import numpy as np

from automl.solver.bucket_elimination import Factor, Floats

Sum = tuple[list[int], list[Factor], int]


def every_assignment(sizes: list[int]) -> np.ndarray:
    return np.array(list(itertools.product(*map(range, sizes))))


def totals(parts: list[Factor], assignments: np.ndarray) -> Floats:
    total: Floats = np.zeros(1)
    for part in parts:
        total = total + part.table[tuple(assignments[:, list(part.scope)].T)]
    return total


def random_sum(generator: np.random.Generator, costs: int = 1, whole: bool = False) -> Sum:
    """Unary sensitivity, unary to ternary costs (some negative), and a gate."""
    variables = int(generator.integers(2, 8))
    sizes = [int(size) for size in generator.integers(1, 5, variables)]
    draw = (lambda shape: generator.integers(0, 6, shape)) if whole else generator.random
    parts = []
    for variable, size in enumerate(sizes):
        table = np.zeros((size, 1 + costs))
        table[:, 0] = draw(size)
        parts.append(Factor((variable,), table))
    for _ in range(int(generator.integers(1, 2 * variables))):
        arity = min(int(generator.integers(1, 4)), variables)
        scope = tuple(generator.permutation(variables)[:arity].tolist())
        shape = tuple(sizes[variable] for variable in scope)
        table = np.zeros((*shape, 1 + costs))
        table[..., 1:] = draw((*shape, costs)) - (1 if whole else 0.1)
        if generator.random() < 0.3:
            table[0] = 0.0  # the first variable is a gate: nothing of this is left
        parts.append(Factor(scope, table))
    return sizes, parts, costs
