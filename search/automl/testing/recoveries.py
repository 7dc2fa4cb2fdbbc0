"""What all losses, hooks, starts and trained roundings have to hold to; see `automl.testing`."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from automl.compression import (
    ActivationQParams,
    Codebook,
    codebook,
    round_to,
    weight_qparams,
)
from automl.network import with_norms
from automl.policy import Bits, is_float
from automl.recovery import (
    STARTS,
    TERMS,
    TRAINED_QUANTIZERS,
    ActivationRounding,
    Beginning,
    GivenActivations,
    GivenWeights,
    Objective,
    Recovered,
    RecoveryData,
    RecoveryRecipe,
    Term,
    TrainedQuantizer,
    WeightRounding,
    recover,
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

    def pair(self, seed: int) -> tuple[nn.Module, nn.Module]:
        """A dense network, and a spoilt one that is trained."""
        return _pair(seed)

    def loss(self, dense: nn.Module, student: nn.Module, seed: int) -> Tensor:
        """Of a batch."""
        loss: Tensor = Objective(student, (dense,), (self.make(),))(*_batch(dense, seed))
        return loss

    def test_it_is_a_finite_number_that_reaches_the_weights(self) -> None:
        """A scalar, whose gradient is not zero everywhere."""
        dense, student = self.pair(0)
        loss = self.loss(dense, student, 0)
        assert loss.dim() == 0
        loss.backward()
        found = [each.grad for each in student.parameters() if each.grad is not None]
        assert all(torch.isfinite(each).all() for each in found)
        assert any(each.abs().max() > 0 for each in found)

    def test_steps_make_it_smaller_and_leave_the_dense_network_alone(self) -> None:
        """Plain gradient descent on one batch."""
        dense, student = self.pair(1)
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
        dense, student = self.pair(2)
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
    """Five promises. Inherit it, and override what differs.

    Attributes:
        name: The quantizer's, as it is asked for.
        bits: Of a layer that it rounds.
    """

    name: ClassVar[str]
    bits: ClassVar[Bits] = Bits(4, 4)

    def make(self) -> TrainedQuantizer:
        """The quantizer."""
        return TRAINED_QUANTIZERS.build(self.name)

    def rounded(self, seed: int) -> tuple[WeightRounding, Tensor]:
        """Its rounding of drawn weights [2, 4, 24], and the numbers that training begins with."""
        generator = torch.Generator().manual_seed(seed)
        dense = torch.randn(2, 4, 24, generator=generator)
        given = _given(dense, self.bits, seed)
        rounding = self.make().weights(given)
        return rounding, rounding.begin(given).clone().requires_grad_()

    def activations(self, seed: int) -> tuple[ActivationRounding, Tensor, GivenActivations]:
        """Its rounding of drawn values [8, 16], which are not negative, and what it was given."""
        generator = torch.Generator().manual_seed(seed)
        values = torch.randn(8, 16, generator=generator).clamp_min(0)
        given = GivenActivations(ActivationQParams(0.15, 0, 0, 15), values.flatten(), seed)
        return self.make().activations(given), values.requires_grad_(), given

    def test_it_rounds_layers_of_its_bits(self) -> None:
        """And says nothing against them."""
        assert not self.make().refusal(self.bits)

    def test_what_is_computed_is_what_is_exported(self) -> None:
        """Integers of the layer's bits times a scale, or values of a codebook, exactly."""
        rounding, numbers = self.rounded(0)
        rounding.eval()
        values, known = rounding.frozen(numbers.detach())
        assert torch.equal(rounding(numbers).detach(), values)
        if isinstance(known, Codebook):
            assert torch.equal(known.values(), values)
            assert len(known.entries) <= 1 << self.bits.weights
            return
        codes = round_to(values, known)
        assert torch.equal(codes.float() * known.scale, values)
        assert int(codes.abs().max()) <= known.highest
        assert known.bits == self.bits.weights

    def test_gradients_are_finite_and_not_all_zero(self) -> None:
        """By the numbers that training moves, or by what the rounding has of its own."""
        rounding, numbers = self.rounded(1)
        rounding.train()(numbers).square().sum().backward()
        found = [each.grad for each in (numbers, *rounding.parameters()) if each.grad is not None]
        assert all(torch.isfinite(each).all() for each in found)
        assert any(each.abs().max() > 0 for each in found)

    def test_the_same_state_rounds_the_same_and_numbers_stay_as_they_are(self) -> None:
        """What it draws depends on its state: a training that was killed goes on as it was."""
        rounding, numbers = self.rounded(2)
        before, state = numbers.detach().clone(), copy.deepcopy(rounding.state_dict())
        chance = torch.get_rng_state()
        one = rounding.train()(numbers).detach()
        rounding.load_state_dict(state)
        assert torch.equal(rounding(numbers).detach(), one)
        assert torch.equal(numbers.detach(), before)
        assert torch.equal(torch.get_rng_state(), chance)

    def test_activations_are_integers_of_the_range_times_the_exported_step(self) -> None:
        """And their gradients are finite and not all zero."""
        rounding, values, given = self.activations(3)
        rounding.train()(values).square().sum().backward()
        assert values.grad is not None
        assert torch.isfinite(values.grad).all()
        assert values.grad.abs().max() > 0
        found, known = rounding.eval()(values).detach(), rounding.frozen()
        assert (known.zero_point, known.low, known.high) == (0, 0, 15)
        assert torch.equal(found, given.levels.nearest(values.detach() / known.scale) * known.scale)


def _given(dense: Tensor, bits: Bits, seed: int) -> GivenWeights:
    """Weights as a policy's network has them, rounded to nearest."""
    if is_float(bits):
        book = codebook(dense, bits.weights)
        return GivenWeights(book.values(), book, bits, dense=dense, seed=seed)
    qparams = weight_qparams(dense, bits.weights)
    values = round_to(dense, qparams).float() * qparams.scale
    return GivenWeights(values, qparams, bits, dense=dense, seed=seed)


class HookContract:
    """Four promises. Inherit it, and override what differs.

    Attributes:
        name: The hook's, as it is asked for, with options where it needs some.
    """

    name: ClassVar[str]

    def student(self) -> tuple[nn.Module, nn.Module]:
        """A dense network, and a spoilt one that is trained."""
        return _pair(0)

    def trained(
        self,
        folder: Path,
        *,
        seed: int = 0,
        die_at: int = 0,
        epochs: int = 6,
    ) -> tuple[nn.Module, Recovered | None]:
        """A network trained with the hook on drawn batches; killed at a step where one is given."""
        dense, student = self.student()
        recipe = RecoveryRecipe(epochs=epochs, hooks=(self.name,))
        batches = [_batch(dense, number) for number in range(2)]

        def die(done: int, _: int | None) -> None:
            if done == die_at:
                raise _Killed

        data = RecoveryData(batches, seed=seed)
        objective = Objective(student, (dense,), recipe.made_terms())
        try:
            found = recover(objective, data, recipe, checkpoint=folder / "left", on_step=die)
        except _Killed:
            return student, None
        return student, found

    def test_shapes_and_names_stay_and_weights_are_finite(self, tmp_path: Path) -> None:
        """And nothing stays on the network that the hook has put there."""
        before = self.student()[1]
        student, found = self.trained(tmp_path)
        assert found is not None
        assert found.steps == 12
        values = student.state_dict()
        assert {n: v.shape for n, v in before.state_dict().items()} == {
            n: v.shape for n, v in values.items()
        }
        assert all(torch.isfinite(value).all() for value in values.values())
        assert not any(_hung(module) for module in student.modules())

    def test_what_was_killed_goes_on_to_the_same_weights(self, tmp_path: Path) -> None:
        """At an early and a late step; what it came to is told the same."""
        whole, expected = self.trained(tmp_path)
        assert expected is not None
        for die_at in (3, 11):
            assert self.trained(tmp_path, die_at=die_at)[1] is None
            student, found = self.trained(tmp_path)
            assert found is not None
            assert found.told == expected.told
            assert _same(student, whole)

    def test_the_same_seed_trains_the_same_and_chance_is_left_alone(self, tmp_path: Path) -> None:
        """The generator of the program draws next what it would have drawn."""
        state = torch.get_rng_state()
        one, other = (self.trained(tmp_path, seed=3)[0] for _ in range(2))
        assert torch.equal(torch.get_rng_state(), state)
        assert _same(one, other)

    def test_it_does_something(self, tmp_path: Path) -> None:
        """The weights are others than without it."""
        with_it = self.trained(tmp_path)[0]
        dense, student = self.student()
        recipe = RecoveryRecipe(epochs=6)
        batches = [_batch(dense, number) for number in range(2)]
        objective = Objective(student, (dense,), recipe.made_terms())
        recover(objective, RecoveryData(batches), recipe)
        assert not _same(with_it, student)


class _Killed(Exception):
    pass


def _same(one: nn.Module, other: nn.Module) -> bool:
    values = other.state_dict()
    return all(torch.equal(value, values[name]) for name, value in one.state_dict().items())


def _hung(module: nn.Module) -> bool:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, kind) for kind in kinds)
