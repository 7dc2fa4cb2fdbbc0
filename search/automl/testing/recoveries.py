"""What all losses, starts and trained roundings have to hold to; see `automl.testing`."""

from __future__ import annotations

import copy
from typing import ClassVar

import torch
from torch import nn

from automl.network import with_norms
from automl.recovery import (
    STARTS,
    TERMS,
    TRAINED_QUANTIZERS,
    Beginning,
    Levels,
    Objective,
    Term,
    TrainedQuantizer,
)
from automl.testing.networks import made_images, made_network

Tensor = torch.Tensor


def _pair(seed: int) -> tuple[nn.Module, nn.Module]:
    """A drawn dense network, and one with spoilt weights that can be trained."""
    dense = made_network(seed).model
    spoilt, generator = copy.deepcopy(dense), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in spoilt.parameters():
            value.add_(
                0.1 * value.std(correction=0) * torch.randn(value.shape, generator=generator)
            )
    return dense, with_norms(spoilt, [made_images(seed=seed)])


def _batch(dense: nn.Module, seed: int) -> tuple[Tensor, Tensor]:
    """Inputs, and as their labels what the dense network takes them for."""
    inputs = made_images(seed=seed)
    with torch.no_grad():
        return inputs, dense(inputs).argmax(1)


class TermContract:
    """Three promises. Inherit it, and override what differs.

    Attributes:
        name: The loss's, as it is asked for, with options where it needs some.
    """

    name: ClassVar[str]

    def make(self) -> Term:
        """The loss."""
        return TERMS.build(self.name)

    def loss(self, dense: nn.Module, student: nn.Module, seed: int) -> Tensor:
        """Of a batch."""
        loss: Tensor = Objective(student, (dense,), (self.make(),))(*_batch(dense, seed))
        return loss

    def test_it_is_a_finite_number_that_reaches_the_weights(self) -> None:
        """A scalar, whose gradient is not zero everywhere."""
        dense, student = _pair(0)
        loss = self.loss(dense, student, 0)
        assert loss.dim() == 0
        loss.backward()
        found = [each.grad for each in student.parameters() if each.grad is not None]
        assert all(torch.isfinite(each).all() for each in found)
        assert any(each.abs().max() > 0 for each in found)

    def test_steps_make_it_smaller_and_leave_the_dense_network_alone(self) -> None:
        """Plain gradient descent on one batch."""
        dense, student = _pair(1)
        before = copy.deepcopy(dense.state_dict())
        optimiser = torch.optim.Adam(student.parameters(), 1e-3)
        first = float(self.loss(dense, student, 1).detach())
        for _ in range(20):
            optimiser.zero_grad()
            self.loss(dense, student, 1).backward()
            optimiser.step()
        assert float(self.loss(dense, student, 1).detach()) < first
        assert all(torch.equal(each, before[name]) for name, each in dense.state_dict().items())

    def test_the_same_batch_gives_the_same_loss(self) -> None:
        """It keeps nothing of a batch, and draws nothing."""
        dense, student = _pair(2)
        found = [float(self.loss(dense, student, 2).detach()) for _ in range(2)]
        assert found[0] == found[1]


class StartContract:
    """Two promises. Inherit it, and override what differs.

    Attributes:
        name: The start's, as it is asked for.
    """

    name: ClassVar[str]

    def begun(self, seed: int) -> dict[str, Tensor]:
        """Weights that it begins with."""
        student = _pair(0)[1]
        STARTS.build(self.name).begin(Beginning(student, seed=seed))
        return dict(student.state_dict())

    def test_shapes_and_names_stay(self) -> None:
        """And all weights are finite."""
        before, after = _pair(0)[1].state_dict(), self.begun(0)
        assert {n: v.shape for n, v in before.items()} == {n: v.shape for n, v in after.items()}
        assert all(torch.isfinite(value).all() for value in after.values())

    def test_the_same_seed_begins_the_same_and_chance_is_left_alone(self) -> None:
        """The generator of the program draws next what it would have drawn."""
        state = torch.get_rng_state()
        one, other = self.begun(3), self.begun(3)
        assert torch.equal(torch.get_rng_state(), state)
        assert all(torch.equal(value, other[name]) for name, value in one.items())


class TrainedQuantizerContract:
    """Three promises. Inherit it, and override what differs.

    Attributes:
        name: The quantizer's, as it is asked for.
    """

    name: ClassVar[str]

    def make(self) -> TrainedQuantizer:
        """The quantizer."""
        return TRAINED_QUANTIZERS.build(self.name)

    def rounded(self, levels: Levels, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Drawn values [8, 6], steps [8, 1], and what the quantizer makes of both."""
        generator = torch.Generator().manual_seed(seed)
        values = torch.randn(8, 6, generator=generator).requires_grad_()
        step = (0.1 + torch.rand(8, 1, generator=generator)).requires_grad_()
        return values, step, self.make()(values, step, levels, values.numel() // 8)

    def test_values_are_the_nearest_integers_of_the_range_times_the_step(self) -> None:
        """As calibration rounds: a training begins with the outputs of the rounded network."""
        for levels in (Levels(-7, 7), Levels(0, 15), Levels(-1, 1, binary=True)):
            values, step, found = self.rounded(levels, 0)
            torch.testing.assert_close(found, levels.nearest(values / step) * step)

    def test_gradients_of_values_and_steps_are_finite_and_not_all_zero(self) -> None:
        """And of their shapes."""
        values, step, found = self.rounded(Levels(-7, 7), 1)
        found.square().sum().backward()
        for each in (values, step):
            assert each.grad is not None
            assert each.grad.shape == each.shape
            assert torch.isfinite(each.grad).all()
            assert each.grad.abs().max() > 0

    def test_the_same_values_are_rounded_the_same_and_stay_as_they_are(self) -> None:
        """It keeps nothing, draws nothing and works on copies."""
        quantizer, levels = self.make(), Levels(-7, 7)
        values, step, _ = self.rounded(levels, 2)
        before = values.detach().clone(), step.detach().clone()
        found = [quantizer(values, step, levels, 6).detach() for _ in range(2)]
        assert torch.equal(found[0], found[1])
        assert torch.equal(values.detach(), before[0])
        assert torch.equal(step.detach(), before[1])
