"""The sensitivity of each choice is what it says, and measuring it leaves no trace."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from compressed import Multiplied, compressor, images_for, masked, outputs_of, read, same, state
from interrupts import interrupted
from small import MAP, Plain, seeded
from torch import Tensor, nn

from automl.compression import layer_matrix, sensitivity
from automl.compression.compressor import Compressor
from automl.compression.quantization import bits_sensitivity, joint_database
from automl.compression.resizing import resized
from automl.compression.sensitivity import measure_sensitivity, outputs
from automl.network.memory_format import laid_out
from automl.network.outputs import column_scales
from automl.network.resumed import ResumedPasses
from automl.network.traced_model import trace_network
from automl.policy.policy import Bits
from automl.space import Sensitivity, Space, Variable, build_space
from automl.userdata import passes


def made_space(name: str) -> Space:
    return build_space(read(name).network, round_to=4)


@pytest.mark.parametrize("name", ["residual", "inverted", "dense", "tuple"])
def test_harm_is_the_mean_squared_change_relative_to_the_variance(name: str) -> None:
    made, space, traced = compressor(name), made_space(name), read(name)
    images, before = laid_out(traced.model, made.images[:5]), state(traced.model)
    found = measure_sensitivity(made.database, space, images)
    dense = outputs_of(traced.model, images)
    with torch.no_grad():
        scales = column_scales(traced.model(images), 5)
    assert found.images == 5
    for position, variable in enumerate(space.variables):
        assert found.single[position][-1] == 0.0
        assert len(found.single[position]) == len(variable.options)
        vector = space.dense.copy()
        vector[position] = 0
        policy = space.decode(vector)
        changed = outputs_of(masked(made.database, policy), resized(images, policy.resolution))
        expected = float(((changed - dense).square() / scales).mean())
        assert found.single[position][0] == pytest.approx(expected, rel=1e-3, abs=1e-7)
    assert same(before, traced.model)


def test_one_image_has_no_variance_and_is_measured_all_the_same() -> None:
    made = compressor("residual")
    found = measure_sensitivity(made.database, made_space("residual"), made.images[:1])
    assert all(np.isfinite(row).all() for row in found.single)
    assert max(row.max() for row in found.single) > 0


@pytest.mark.parametrize("kind", ["block", "channels", "resolution"])
def test_the_model_is_restored_when_a_forward_pass_fails(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, traced, space = compressor("residual"), read("residual"), made_space("residual")
    images, before = made.images[:2], state(traced.model)
    dense = outputs_of(traced.model, images)

    def failing(model: nn.Module, inputs: Tensor, batch: int = 64) -> Tensor:
        found = outputs_of(model, inputs)
        if not torch.equal(found, dense):
            raise RuntimeError("out of memory")
        return found

    monkeypatch.setattr("automl.compression.sensitivity.outputs", failing)
    only = Space(tuple(variable for variable in space.variables if variable.kind == kind))
    with pytest.raises(RuntimeError, match="out of memory"):
        measure_sensitivity(made.database, only, images)
    assert same(before, traced.model)
    assert not isinstance(traced.model.get_submodule("stage1.0"), nn.Identity)


def test_an_interruption_anywhere_leaves_the_dense_network_whole() -> None:
    traced = trace_network(seeded(Plain), MAP, resolutions=())
    made = Compressor(traced, images_for(MAP, 4), {"first": (4,)})
    before = state(traced.model)
    space = Space(
        (Variable("channels", "first", (4, 8)), Variable("bits", "second", (Bits(4, 4), Bits())))
    )

    def measure() -> None:
        measure_sensitivity(made.database, space, made.images, rounded=made.joint)

    modules = (sensitivity, bits_sensitivity, joint_database, layer_matrix)
    lines = 0
    for lines in interrupted(measure, *modules, step=3):
        assert same(before, traced.model), f"interrupted at line {lines}"
        assert not any(module._forward_hooks for module in traced.model.modules())
    assert lines > 100


def test_outputs_do_not_hang_on_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    made = compressor("tuple")
    whole = outputs(made.database.model, made.images)
    monkeypatch.setattr(passes, "_BYTES", 5 * made.images[0].numel() * 4)
    torch.testing.assert_close(outputs(made.database.model, made.images), whole)
    assert whole.shape == outputs_of(made.database.model, made.images).shape


def test_progress_counts_every_choice() -> None:
    made, space, told = compressor("linears"), made_space("linears"), list[tuple[int, int]]()
    measure_sensitivity(
        made.database, space, made.images[:2], on_choice=lambda *done: told.append(done)
    )
    total = sum(space.sizes)
    assert told == [(done, total) for done in range(1, total + 1)]  # the last one too


@pytest.mark.parametrize("name", ["residual", "inverted", "dense", "tuple"])
def test_passes_begun_where_something_changes_give_what_whole_ones_give(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, network = compressor(name), read(name).network
    space = build_space(network, round_to=4, precisions=(Bits(4, 4), Bits(8, 8), Bits()))
    images = made.images[:3]

    def whole(
        self: ResumedPasses, changed: object, touched: object = (), run: nn.Module | None = None
    ) -> nn.Module:
        return run or self._model

    def measure() -> Sensitivity:
        return measure_sensitivity(made.database, space, images, rounded=made.joint)

    measure()  # ranges of what is rounded are found once
    with Multiplied() as begun:
        found = measure()
    monkeypatch.setattr(ResumedPasses, "since", whole)
    with Multiplied() as every:
        expected = measure()
    for one, other in zip(found.single, expected.single, strict=True):
        np.testing.assert_array_equal(one, other)
    assert begun.layers < 0.9 * every.layers
