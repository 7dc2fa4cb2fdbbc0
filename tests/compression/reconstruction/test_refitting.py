"""A walk that stops behind a module, and one that leaves alone what an earlier one finished."""

from __future__ import annotations

import copy

import torch
from compressed import images_for
from small import MAP, Shortcuts, seeded
from uncompensated import uncompensated

from automl.compression.compressor import Compressor
from automl.compression.quantization.second_order import SecondOrder
from automl.compression.reconstruction.base import RefitSettings
from automl.compression.reconstruction.least_squares import LeastSquares
from automl.compression.reconstruction.refitting import Refitter
from automl.network.traced_model import trace_network


def test_two_walks_find_what_one_does() -> None:
    traced = trace_network(seeded(Shortcuts), MAP, resolutions=())
    made = Compressor(traced, images_for(MAP, 32), {})
    inner = next(group.name for group in traced.network.groups if "inner" in group.name)
    kept = {inner: torch.arange(4)}
    whole, parted = uncompensated(made, kept), uncompensated(made, kept)
    solve = LeastSquares().solving(whole)
    Refitter(whole, SecondOrder(), RefitSettings(), solve).calibrate()
    first = Refitter(parted, SecondOrder(), RefitSettings(), solve, until="same")
    first.calibrate()
    assert {"stem", "same.inner", "same.outer"} <= first.finished
    assert not any(name.startswith(("same2", "before", "after", "head")) for name in first.finished)
    half = copy.deepcopy(parted.model.state_dict())
    Refitter(parted, SecondOrder(), RefitSettings(), solve, done=first.finished).calibrate()
    found = parted.model.state_dict()
    assert all(torch.equal(half[name], found[name]) for name in found if name.startswith("same."))
    for name, value in whole.model.state_dict().items():
        assert torch.allclose(found[name], value, atol=1e-5), name
