"""The sensitivity of each choice is what it says, and measuring it leaves no trace."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from compressed import compressor, masked, outputs_of, read, same, state
from torch import Tensor, nn

from automl.compression.sensitivity import measure_sensitivity, outputs, resized
from automl.space import Space, build_space


def made_space(name: str) -> Space:
    return build_space(read(name).network, round_to=4)


@pytest.mark.parametrize("name", ["residual", "inverted", "dense", "tuple"])
def test_harm_is_the_mean_squared_change_relative_to_the_variance(name: str) -> None:
    made, space, traced = compressor(name), made_space(name), read(name)
    images, before = made.images[:5], state(traced.model)
    found = measure_sensitivity(made.database, space, images)
    dense = outputs_of(traced.model, images)
    assert found.images == 5
    for position, variable in enumerate(space.variables):
        assert found.single[position][-1] == 0.0
        assert len(found.single[position]) == len(variable.options)
        vector = space.dense.copy()
        vector[position] = 0
        policy = space.decode(vector)
        changed = outputs_of(masked(made.database, policy), resized(images, policy.resolution))
        expected = float((changed - dense).square().mean() / dense.var(0).mean())
        assert found.single[position][0] == pytest.approx(expected, rel=1e-3, abs=1e-7)
    assert same(before, traced.model)


def test_one_image_has_no_variance_and_is_measured_all_the_same() -> None:
    made = compressor("residual")
    found = measure_sensitivity(made.database, made_space("residual"), made.images[:1])
    assert all(np.isfinite(row).all() for row in found.single)
    assert max(row.max() for row in found.single) > 0


class Failing(nn.Module):
    """Fails once the network is not the dense one any more."""

    def __init__(self, model: nn.Module, dense: Tensor) -> None:
        super().__init__()
        self.inner, self.dense = model, dense

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.inner(x)
        if result.shape != self.dense.shape or not torch.equal(result, self.dense):
            raise RuntimeError("out of memory")
        return result


@pytest.mark.parametrize("kind", ["block", "channels", "resolution"])
def test_the_model_is_restored_when_a_forward_pass_fails(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, traced, space = compressor("residual"), read("residual"), made_space("residual")
    images, before = made.images[:2], state(traced.model)
    failing = Failing(traced.model, outputs_of(traced.model, images))
    monkeypatch.setattr("automl.compression.sensitivity.outputs", lambda _, x, batch=64: failing(x))
    only = Space(tuple(variable for variable in space.variables if variable.kind == kind))
    with pytest.raises(RuntimeError, match="out of memory"):
        measure_sensitivity(made.database, only, images)
    assert same(before, traced.model)
    assert not isinstance(traced.model.get_submodule("stage1.0"), nn.Identity)


def test_outputs_do_not_hang_on_the_batch() -> None:
    made = compressor("tuple")
    whole = outputs(made.database.model, made.images)
    torch.testing.assert_close(outputs(made.database.model, made.images, batch=5), whole)
    assert whole.shape == outputs_of(made.database.model, made.images).shape


def test_images_are_resized_where_they_are_images_of_another_size() -> None:
    images = torch.rand(2, 3, 16, 16)
    assert resized(images, 0) is images
    assert resized(images, 16) is images
    assert resized(images, 8).shape == (2, 3, 8, 8)
    vectors = torch.rand(2, 20)
    assert resized(vectors, 8) is vectors


def test_progress_counts_every_choice() -> None:
    made, space, told = compressor("linears"), made_space("linears"), list[tuple[int, int]]()
    measure_sensitivity(
        made.database, space, made.images[:2], on_choice=lambda *done: told.append(done)
    )
    total = sum(space.sizes)
    assert told == sorted(set(told))
    assert len(told) == total - len(space.sizes)  # the dense options are known
    assert {of for _, of in told} == {total}
