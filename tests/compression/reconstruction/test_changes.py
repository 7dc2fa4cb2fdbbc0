"""What runs before a candidate's first change is left as it is."""

from __future__ import annotations

from dataclasses import replace

import torch
from compressed import images_for
from small import MAP, Shortcuts, seeded
from uncompensated import uncompensated

from automl.compression.compressor import Compressor
from automl.compression.quantization.second_order import SecondOrder
from automl.compression.quantization.simulation import make_plan
from automl.compression.reconstruction.base import Candidate, RefitSettings
from automl.compression.reconstruction.changes import first_change, first_places
from automl.compression.reconstruction.refitting import Refitter
from automl.network import Bypasses
from automl.network.precision import Flow
from automl.network.traced_model import TracedModel, trace_network
from automl.policy.policy import Bits


def made_of(traced: TracedModel) -> Compressor:
    return Compressor(traced, images_for(MAP, 32), {})


def test_no_layer_is_solved_that_runs_before_the_first_change() -> None:
    """It reads and writes what it does in the dense network: there is nothing to make good."""
    traced = trace_network(seeded(Shortcuts), MAP, resolutions=())
    made = made_of(traced)
    layers = list(Flow(traced.trace).layers)
    for group in traced.network.groups:
        candidate = uncompensated(made, {group.name: torch.arange(group.channels // 2)})
        solved: list[str] = []

        def solve(name: str, *_: object, solved: list[str] = solved) -> None:
            solved.append(name)

        Refitter(candidate, SecondOrder(), RefitSettings(), solve).calibrate()
        writers = [layers.index(side.module) for side in group.producers]
        assert solved == layers[min(writers) :]


def first_of(candidate: Candidate) -> int:
    order = first_places(candidate.trace)
    return first_change(candidate, order, Bypasses(candidate.trace))


def test_coarse_bits_and_blocks_left_out_are_changes_and_fine_bits_are_none() -> None:
    traced = trace_network(seeded(Shortcuts), MAP, resolutions=())
    plain, end = uncompensated(made_of(traced), {}), len(traced.trace.calls)
    order, flow = first_places(traced.trace), Flow(traced.trace)
    layers = list(flow.layers)

    def rounded(bits: Bits) -> Candidate:
        plan = make_plan(flow, {layers[0]: Bits(8, 8), layers[2]: bits}, None)
        return replace(plain, plan=plan)

    assert first_of(plain) == first_of(rounded(Bits(8, 8))) == end
    assert first_of(rounded(Bits(4, 8))) == first_of(rounded(Bits(8, 4))) == order[layers[2]]
    for block in traced.network.blocks:
        without = first_of(replace(plain, removed=frozenset({block.name})))
        assert without == order[block.name] > 0
