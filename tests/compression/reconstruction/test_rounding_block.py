"""One block's rounding: what was flipped at random is flipped back."""

from __future__ import annotations

import torch
from rounded_blocks import rounded, values_of

from automl.compression.quantization.qparams import QParams
from automl.compression.reconstruction.rounding_block import (
    Before,
    Learning,
    RoundedLayer,
    learn,
)
from automl.policy.policy import Bits


def test_flips_that_were_made_at_random_are_undone() -> None:
    compressor, model = rounded("least-squares", Bits(4, 8))
    values = values_of(compressor, model, "same")
    right = values.error(model, held=True)
    generator = torch.Generator().manual_seed(0)
    layers = {}
    for name in ("same.inner", "same.outer"):
        module, store = model.network.get_submodule(name), model.weights[name]
        assert isinstance(store, QParams)
        weights = module.weight.detach().flatten(1).unsqueeze(0).clone()  # type: ignore[operator]
        columns = weights.shape[2]
        flips = torch.zeros_like(weights)
        at = torch.randint(columns, (1, weights.shape[1], 1), generator=generator)
        flips.scatter_(2, at, 1.0)
        with torch.no_grad():
            module.weight.add_((flips * store.scale).view_as(module.weight))  # type: ignore[operator,arg-type]
        moments = compressor.joint.moments_of(name)
        layers[name] = RoundedLayer(module, Before(weights, moments, corrected=False), store)
    wrong = values.error(model, held=True)
    learn(model, "same", layers, values, Learning(rounds=30, drop=0.0, seed=0))
    assert values.error(model, held=True) < right + 0.25 * (wrong - right)


def test_an_outputs_best_weight_is_the_one_that_gains_most() -> None:
    layer = torch.nn.Linear(3, 2)
    qparams = QParams(torch.full((1, 2, 1), 0.5), 3)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.0, 0.5, 1.5], [0.0, -1.5, 0.5]]))
    moments = torch.eye(4, dtype=torch.float64).unsqueeze(0)
    made = RoundedLayer(layer, Before(layer.weight.detach().unsqueeze(0), moments, True), qparams)
    made.bend = torch.tensor([1.0, 100.0]).view(1, 2, 1)
    # down by the steepest; the last of the first output is at the largest integer already
    steps, gains = made.changes(torch.tensor([[[0.5, 1.0, -9.0], [2.0, 1.0, 1.0]]]))
    assert steps.tolist() == [[[0, -1, 0], [-1, 0, 0]]]
    assert torch.allclose(gains.flatten(), torch.tensor([0.5 - 0.125, 1.0 - 12.5]))
