"""Binary weights but for the last convolution, in training and after it."""

from __future__ import annotations

import torch

from automl.compression.blocks.library import Library
from automl.testing import BlockContract, made_images


class TestBinary(BlockContract):
    name = "binary"


def test_it_begins_with_the_units_own_weights() -> None:
    contract = TestBinary()
    traced = contract.traced()
    unit = contract.units(traced)[0]
    for name, made in zip(unit.chain, contract.begun(traced, unit).convolutions, strict=True):
        assert torch.equal(
            made.get_parameter("weight"), traced.model.get_parameter(f"{name}.weight")
        )


def test_what_was_trained_has_signs_with_a_scale_an_output_and_a_last_layer_of_floats() -> None:
    contract = TestBinary()
    traced, images = contract.traced(), made_images(64)
    library = Library(traced, images, 0)
    for unit in contract.units(traced):
        built = library.made(unit, "binary")
        kinds = [stage.plans[0].kernel for stage in built.stages]
        assert kinds[-1] == ""
        assert "binary" in kinds
        for kind, made in zip(kinds, built.convolutions, strict=True):
            rows = made.get_parameter("weight").abs().flatten(1)
            same = torch.allclose(rows, rows[:, :1].expand_as(rows), rtol=1e-5)
            assert same == (kind == "binary")
            assert not list(made.named_children())  # nothing is left of what held it
        assert built.last.get_parameter("weight").requires_grad is False


def test_training_brings_it_nearer_to_the_unit_than_rounding_does() -> None:
    contract = TestBinary()
    traced, images = contract.traced(), made_images(64)
    unit = contract.units(traced)[0]
    begun, trained = contract.begun(traced, unit), Library(traced, images, 0).made(unit, "binary")
    contract.form.hold(begun)
    seen: list[torch.Tensor] = []

    def keep(module: object, args: tuple[torch.Tensor], output: torch.Tensor) -> None:
        seen.extend((args[0], output))

    first, last = (traced.model.get_submodule(unit.chain[place]) for place in (0, -1))
    handles = [first.register_forward_hook(keep), last.register_forward_hook(keep)]
    traced.model(images)
    for handle in handles:
        handle.remove()
    entering, aim = seen[0], seen[-1]
    errors = [float((each(entering) - aim).square().mean().detach()) for each in (begun, trained)]
    assert errors[1] < 0.8 * errors[0]
