"""Where a candidate's pass begins to compute something else than the dense network's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from automl.compression.reconstruction.base import Candidate
from automl.network import Bypasses, Trace

#: Bits that lose less than the noise of rounded inputs costs a refit.
_FINE: Final = 8


def first_places(trace: Trace) -> dict[str, int]:
    """Where each module and layer of a recorded pass first runs."""
    found: dict[str, int] = {}
    for place, call in enumerate(trace.calls):
        for name in (*call.step.scope, call.step.module):
            found.setdefault(name, place)
    return found


def first_change(candidate: Candidate, order: Mapping[str, int], bypasses: Bypasses) -> int:
    """Where a candidate's pass first computes something else than the dense one.

    Fine bits are none: they lose less than a refit costs. Layers before it have nothing to make up
    for. Past the end where there is none.
    """
    bits = candidate.plan.bits.items()
    coarse = {name for name, each in bits if min(each.weights, each.activations) < _FINE}
    places = {each.place for each in candidate.stand_ins.values()}
    parts = {*candidate.kept_outputs, *candidate.finishes, *candidate.merged, *coarse, *places}
    first = [order[name] for name in parts if name in order]
    step = {call.step.address: place for place, call in enumerate(candidate.trace.calls)}
    for name in candidate.removed:
        past = bypasses.of(name)
        gone = set() if past is None else bypasses.gone_with(name, past)
        first += [step[address] for address in gone if address in step] or [0]
    return min(first, default=len(candidate.trace.calls))
