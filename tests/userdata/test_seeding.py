"""Loaders that shuffle give the same order under the same seed, and chance goes on as it was."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from automl.userdata.loading import make_data
from automl.userdata.seeding import seeded


def loader(**options: Any) -> DataLoader[tuple[Tensor, ...]]:
    inputs = torch.arange(40.0).view(40, 1)
    return DataLoader(TensorDataset(inputs, inputs), batch_size=8, **options)


class Augmented(Dataset[tuple[Tensor, Tensor]]):
    """Inputs that are changed by every generator there is."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        drawn = [random.random(), float(np.random.rand()), float(torch.rand(()))]
        return torch.tensor([index, *drawn]), torch.tensor(index)


class Own:
    """Batches drawn in plain Python."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = random.sample(range(40), 40)
        for index in order:
            yield torch.tensor([[float(index)]]), torch.tensor([index])


LOADERS: dict[str, Callable[[], Iterable[Any]]] = {
    "global generator": lambda: loader(shuffle=True),
    "its own generator": lambda: loader(
        shuffle=True, generator=torch.Generator().manual_seed(torch.seed() % 1000)
    ),
    "augmenting": lambda: DataLoader(Augmented(), batch_size=8, shuffle=True),
    "plain Python": Own,
}


def states() -> tuple[Any, ...]:
    numpy: Any = np.random.get_state()
    return random.getstate(), numpy[1].tolist(), torch.random.get_rng_state().tolist()


@pytest.mark.parametrize("kind", LOADERS)
def test_the_same_seed_gives_the_same_inputs_whatever_was_drawn_before(kind: str) -> None:
    def inputs(source: Iterable[Any], images: int, seed: int) -> Tensor:
        random.random(), np.random.rand(), torch.rand(3)
        found = make_data((source, source), images, seed=seed)
        return found.calibration.inputs

    source = LOADERS[kind]()
    first, again = inputs(source, 20, 5), inputs(source, 20, 5)
    assert torch.equal(first, again)
    assert torch.equal(first, inputs(LOADERS[kind](), 20, 5))
    assert torch.equal(first[:11], inputs(source, 11, 5))
    assert not torch.equal(first, inputs(source, 20, 6))


@pytest.mark.parametrize("kind", LOADERS)
def test_reading_leaves_all_generators_as_they_were(kind: str) -> None:
    source = LOADERS[kind]()
    own = getattr(source, "generator", None)
    before = states(), None if own is None else own.get_state().tolist()
    make_data((source, source, source), 20, seed=5)
    assert (states(), None if own is None else own.get_state().tolist()) == before


def test_how_much_of_one_part_is_read_changes_nothing_for_the_next() -> None:
    source = DataLoader(Augmented(), batch_size=8, shuffle=True)
    few, many = (make_data((source, source), images, seed=1) for images in (8, 40))
    assert torch.equal(few.validation.inputs, many.validation.inputs)


def test_generators_are_put_back_when_reading_fails() -> None:
    generator = torch.Generator().manual_seed(3)
    source = loader(shuffle=True, generator=generator)
    before = states(), generator.get_state().tolist()

    def fail() -> None:
        with seeded(7, source):
            random.random(), np.random.rand(), torch.rand(1, generator=generator)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert (states(), generator.get_state().tolist()) == before


def test_a_seed_that_is_negative_or_large_is_taken() -> None:
    drawn = []
    for seed in (-1, 1 << 40, -1):
        with seeded(seed):
            drawn.append((random.random(), float(np.random.rand()), float(torch.rand(()))))
    assert drawn[0] == drawn[2] != drawn[1]
