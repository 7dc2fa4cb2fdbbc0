"""Layers fitted by themselves, on the dense network's inputs."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from compressed import images_for, outputs_of
from small import MAP, Plain, seeded
from uncompensated import uncompensated

from automl.compression.compressor import Compressor
from automl.compression.quantization.second_order import SecondOrder
from automl.compression.reconstruction.independent import Independent
from automl.errors import UsageError
from automl.network.traced_model import trace_network

FIRST = torch.arange(4)


def doubled(*, twice: bool = True) -> Compressor:
    """Channels 4 to 7 repeat 0 to 3; nothing else is alike."""
    model = seeded(Plain)
    with torch.no_grad():
        for value in (model.first.weight, model.first.bias) if twice else ():
            value[4:] = value[:4]
    traced = trace_network(model, MAP, resolutions=())
    return Compressor(traced, images_for(MAP, 64), {"first": (4,), "second": (3,)})


def test_what_other_channels_say_as_well_is_recovered() -> None:
    made = doubled()
    finished = Independent().finish(uncompensated(made, {"first": FIRST}), SecondOrder())
    fresh = images_for(MAP, 50, seed=9)
    expected, found = outputs_of(made.traced.model, fresh), outputs_of(finished, fresh)
    assert float((found - expected).square().mean() / expected.var()) < 1e-6


def test_the_moments_alone_give_the_least_squares_of_the_dense_inputs() -> None:
    made = doubled(twice=False)
    kept = torch.tensor([0, 1, 2, 5, 6])
    finished = Independent(ridge=1e-9).finish(uncompensated(made, {"first": kept}), SecondOrder())
    read = made.joint.moments_of("second")[0]
    dense = made.traced.model.get_submodule("second")
    weights = torch.cat([dense.weight.flatten(1), dense.bias.unsqueeze(1)], 1).double()  # type: ignore[operator]
    places = torch.cat([(kept.unsqueeze(1) * 9 + torch.arange(9)).flatten(), torch.tensor([72])])
    expected = torch.linalg.solve(read[places][:, places], read[places] @ weights.T).T
    found = finished.get_submodule("second").weight.flatten(1).double()  # type: ignore[operator]
    assert torch.allclose(found, expected[:, :-1], atol=1e-4)


def test_what_the_layers_before_get_wrong_is_not_corrected() -> None:
    made = doubled()
    candidate = uncompensated(made, {"first": torch.arange(2)})  # not to be made good
    before = copy.deepcopy(candidate.model.get_submodule("head").state_dict())
    finished = Independent().finish(candidate, SecondOrder())
    after = finished.get_submodule("head").state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_candidate_without_the_dense_network_is_refused() -> None:
    candidate = replace(uncompensated(doubled(), {"first": FIRST}), dense=None)
    with pytest.raises(UsageError, match="needs the dense network"):
        Independent().finish(candidate, SecondOrder())
