"""Passes in step: each part computes what it computes alone, however often it is left."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pytest
import torch
from specimens import NETWORKS, specimen
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from automl.network.forward_tracer import LeafCall
from automl.network.stepped_tracer import SteppedTracer

PARTS = (slice(0, 3), slice(3, 5), slice(5, 7))


class Noting(SteppedTracer):
    """Notes what layers read and operations write, and waits at each of them for some parts."""

    def __init__(self, model: nn.Module, parts: int, late: str = "") -> None:
        super().__init__(model)
        self.parts, self.late = parts, late
        self.seen: dict[int, list[tuple[Hashable, Tensor]]] = {}
        self.settled: list[Hashable] = []

    def expected(self, gate: Hashable) -> int:
        early = self.late and not any(self.late in str(each) for each in (*self.settled, gate))
        return 1 if early else self.parts

    def note(self, gate: Hashable, value: Tensor) -> None:
        if not self.is_settled(gate):
            self.seen.setdefault(self.part.number, []).append((gate, value.clone()))
            self.wait(gate)
            self.settled.append(gate)

    def before(self, step: LeafCall, module: nn.Module, args: tuple[Any, ...]) -> None:
        self.note(("reads", step.address), args[0])

    def after(
        self, step: LeafCall, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        written = next(leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor))
        self.note(("writes", step.address), written)


def walked(model: nn.Module, images: Tensor, parts: tuple[slice, ...], late: str = "") -> Noting:
    tracer = Noting(model, len(parts), late)
    with tracer.attached():
        tracer.walk(lambda here: images[here], parts)
    return tracer


def images_for(shape: tuple[int, ...], count: int = 7) -> Tensor:
    return torch.randn((count, *shape[1:]), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_part_that_waits_everywhere_computes_what_it_computes_alone(name: str) -> None:
    traced = specimen(name).traced
    images = images_for(traced.network.input_shape)
    together = walked(traced.model, images, PARTS)
    assert len(set(together.settled)) == len(together.settled)
    for number, part in enumerate(PARTS):
        alone = walked(traced.model, images, (part,)).seen[0]
        found = together.seen[number]
        assert [gate for gate, _ in found] == [gate for gate, _ in alone]
        for (gate, value), (_, expected) in zip(found, alone, strict=True):
            assert torch.equal(value, expected), gate


def test_parts_that_come_late_pass_what_was_settled_before() -> None:
    traced = specimen("residual").traced
    images = images_for(traced.network.input_shape)
    found = walked(traced.model, images, PARTS, late="stage2")
    gates = [gate for gate, _ in found.seen[0]]
    first = next(i for i, gate in enumerate(gates) if "stage2" in str(gate))
    assert first > 0
    alone = walked(traced.model, images, PARTS[2:]).seen[0]
    assert [gate for gate, _ in found.seen[2]] == gates[first:]
    for (_, value), (_, expected) in zip(found.seen[2], alone[first:], strict=True):
        assert torch.equal(value, expected)


def test_only_what_is_still_needed_is_held() -> None:
    layers = [nn.Conv2d(4, 4, 1) for _ in range(6)]
    images = torch.zeros(8, 4, 16, 16)
    held = walked(nn.Sequential(*layers), images, tuple(slice(i, i + 1) for i in range(8)))
    image = 4 * 4 * 16 * 16
    assert 7 * image <= held.most_held <= 2 * 8 * image  # never the six layers' values


class Skipping(nn.Module):
    """Reads its input again behind its layers, and once more through a view of it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        half = x[:, 1:3]
        y = self.first(x).relu()
        y = self.second(y + x)
        return y + half + x.flatten(1).mean(1).view(-1, 1, 1, 1)


def test_inputs_that_are_read_again_far_behind_are_the_same() -> None:
    model, images = Skipping().eval(), images_for((1, 4, 6, 6))
    together = walked(model, images, PARTS)
    for number, part in enumerate(PARTS):
        alone = walked(model, images, (part,)).seen[0]
        for (gate, value), (_, expected) in zip(together.seen[number], alone, strict=True):
            assert torch.equal(value, expected), gate


def test_inputs_are_read_again_only_where_something_reads_them() -> None:
    model = nn.Sequential(*(nn.Conv2d(4, 4, 1) for _ in range(20)))
    images, read = images_for((1, 4, 6, 6)), list[slice]()
    tracer = Noting(model.eval(), len(PARTS))
    with tracer.attached():
        tracer.walk(lambda here: (read.append(here), images[here])[1], PARTS)
    assert len(tracer.settled) == 40
    assert max(read.count(part) for part in PARTS) <= 6  # at the gates around the first layer


def test_an_error_of_the_network_is_not_swallowed() -> None:
    class Failing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            try:
                x = self.layer(x)
            except Exception:  # it may: a part that is left is no error of its
                return x
            if x.shape[0] == 2:
                raise RuntimeError("two of a kind")
            return x

    with pytest.raises(RuntimeError, match="two of a kind"):
        walked(Failing(), torch.zeros(7, 4), PARTS)
