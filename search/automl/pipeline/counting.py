"""What fvcore counts in the dense and in the delivered network, beside what the policy promised."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from torch import nn

from automl.errors import Raised, attempt
from automl.export import count_macs
from automl.network import TracedModel
from automl.pipeline.networks import input_shape
from automl.pipeline.requests import Metrics
from automl.pipeline.writing import network_of_floats
from automl.policy import Policy
from automl.units import format_macs

#: A promise that is off by more than this share is said.
TOLERANCE: Final = 0.01


def with_counts(
    dense: Metrics, compressed: Metrics, traced: TracedModel, model: nn.Module, policy: Policy
) -> tuple[Metrics, Metrics, tuple[str, ...]]:
    """Both metrics with fvcore's counts, and what the user should know of them.

    Args:
        dense, compressed: With the MACs that were promised.
        traced: The network as it came.
        model: What is delivered; of a `QuantizedModel` the network that it rounds is counted.
        policy: Whose network it is.
    """
    delivered, shape = network_of_floats(model), input_shape(traced, policy)
    before = attempt(lambda: count_macs(traced.model, traced.network.input_shape))
    after = attempt(lambda: count_macs(delivered, shape))
    if isinstance(before, Raised) or isinstance(after, Raised):  # its tracer takes less than ours
        return dense, compressed, ("fvcore cannot trace this network: its MACs are ours alone",)
    notes: list[str] = []
    if after.unknown:
        notes.append(f"fvcore does not know {', '.join(after.unknown)}: its count is without them")
    elif abs(after.macs - compressed.macs) > TOLERANCE * compressed.macs:
        counted, promised = format_macs(after.macs), format_macs(compressed.macs)
        notes.append(f"fvcore counts {counted} in the delivered network, promised were {promised}")
    return (
        replace(dense, counted_macs=before.macs),
        replace(compressed, counted_macs=after.macs),
        tuple(notes),
    )
