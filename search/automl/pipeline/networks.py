"""Whole networks on a device: what predictions from a table are fitted to and held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from automl.compression import (
    adding_chains,
    block_form,
    build,
    chosen_alternatives,
    further_parts,
    in_place,
    merged_chains,
    put,
    running,
    without_gates,
)
from automl.cost import LATENCY, Overhead, build_cost_model
from automl.export import computes_integers, onnx_bytes, uncalibrated_onnx
from automl.heap import give_back
from automl.latency import (
    FittedOverhead,
    KnownError,
    LatencyTable,
    OpKey,
    Pricer,
    TableHeader,
    Timings,
)
from automl.network import (
    Flow,
    TracedModel,
    kept_positions,
    merge_layers,
    merged_trace,
    smaller,
    units_of,
)
from automl.pipeline.precision import floats_of, precisions_of, scheme_of
from automl.pipeline.requests import Event, NetworkTime, OnEvent
from automl.policy import Policy, is_float
from automl.profiling import (
    FEWEST_NETWORKS,
    Runner,
    StoredModels,
    Sums,
    fit_overhead,
    half_model,
    held_out_seconds,
    measure_models,
)
from automl.space import Space, Vectors, bit_options

#: Networks, beside the dense one, that the overhead is fitted on.
FIT_NETWORKS = 7
#: Seconds that they may take, all together.
FIT_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class FittedNetworks:
    """An overhead, and the networks that it was fitted on.

    Attributes:
        overhead: From the sum of operators to the network.
        networks: The dense one first; each predicted from a fit without it.
        description: Of the networks, for the table's header.
    """

    overhead: FittedOverhead
    networks: tuple[NetworkTime, ...]
    description: str

    @property
    def known_error(self) -> KnownError:
        """Mean absolute relative error of networks predicted from fits without them."""
        return KnownError(relative=round(self.overhead.error, 4), on=self.description)


def fit_networks(
    traced: TracedModel,
    table: LatencyTable,
    space: Space,
    runner: Runner,
    seed: int,
    on_event: OnEvent,
    pricer: Pricer | None = None,
) -> FittedNetworks:
    """Measure the dense network and random policies of it, and fit the overhead on them.

    Args:
        traced, space: The network and its choices.
        table: The device's.
        runner: The device.
        seed: Of the random policies.
        on_event: Told of progress.
        pricer: What operators cost; None for what the table says.

    Raises:
        TableError: If operators of the space have no price.
        MeasureError: If the runtime refuses a network or stops answering.
    """
    precisions = precisions_of(table.header)
    plain, floats = (
        build_cost_model(
            traced.network,
            space,
            pricer or table,
            overhead=Overhead(integers=share),
            precisions=precisions,
        )
        for share in (1.0, 0.0)
    )
    number_of = build_cost_model(traced.network, space, _UnitPricer(), precisions=precisions)
    vectors = fitting_vectors(space, seed)
    different = len(vectors)
    if different < FEWEST_NETWORKS:  # a space with hardly a choice: the same ones once more
        vectors = np.resize(vectors, (FEWEST_NETWORKS, vectors.shape[1]))
    with StoredModels() as models:
        for number, vector in enumerate(vectors):
            on_event(Event("fitting overhead", number, len(vectors)))
            models.put(str(number), timed_onnx(traced, space.decode(vector), table.header))
            give_back()  # exporting takes several times a network's size
        times = measure_models(models, runner, seconds_cap=FIT_SECONDS)
        measured = [times[name].seconds for name in models]
    sums = Sums(
        plain.price(vectors)[:, LATENCY],
        (plain.price(vectors) - floats.price(vectors))[:, LATENCY],
    )
    counts = [round(count) for count in number_of.price(vectors)[:, LATENCY].tolist()]
    fitted = fit_overhead(sums, counts, measured)
    on_event(Event("fitting overhead", len(vectors), len(vectors)))
    predicted = held_out_seconds(sums, counts, measured)
    names = ["dense", *(f"random policy {number}" for number in range(1, different))]
    networks = tuple(map(NetworkTime, names, predicted, measured))  # repeated ones are left out
    words = f"the dense model {traced.network.fingerprint[:8]} and {different - 1} random policies"
    return FittedNetworks(fitted, networks, f"{words} of it, each left out of the fit")


def fitting_vectors(space: Space, seed: int) -> Vectors:
    """The dense network first, and the different random policies that are measured beside it.

    Where bits are chosen, half of them have integers wherever they can: searches end near these.
    """
    drawn = space.random(FIT_NETWORKS, np.random.default_rng(seed))
    if space.of_kind("bits"):
        whole, bits = integers(space), list(space.of_kind("bits"))
        drawn[::2, bits] = whole[bits]
        drawn = np.concatenate([drawn, whole[None]])
    dense = space.dense[None]
    others = np.unique(drawn, axis=0)
    found: Vectors = np.concatenate([dense, others[(others != dense).any(axis=1)]])
    return found


class _UnitPricer:
    """Prices every operator at one, so that a network's price is how many run."""

    def lookup(self, keys: Sequence[OpKey]) -> Timings:
        one = np.ones(len(keys))
        return Timings(one, np.zeros(len(keys)), np.zeros(len(keys), dtype=np.int8))


def integers(space: Space) -> Vectors:
    """The dense network with each layer at the finest integers that it can have."""
    vector = space.dense.copy()
    for position in space.of_kind("bits"):
        options = bit_options(space.variables[position])
        computed = [index for index, bits in enumerate(options) if not is_float(bits)]
        vector[position] = computed[-1] if computed else len(options) - 1
    return vector


def timed_onnx(traced: TracedModel, policy: Policy, header: TableHeader) -> bytes:
    """A network of the policy's shapes and precisions as ONNX, batch 1, for its time alone.

    First channels are kept, and integers stand for nothing.

    Raises:
        ModelError: The exporter refuses the model.
    """
    policy = without_gates(traced.network, policy)
    model, shape = network_of(traced, policy)
    scheme = scheme_of(header)
    if scheme is not None and any(map(computes_integers, policy.bits.values())):
        runs, made = (
            running(traced, further_parts(traced.model, policy)),
            merged_chains(traced, policy),
        )
        units = {unit.name: unit for unit in units_of(traced.network)}
        made += tuple(units[name].chain for name in chosen_alternatives(traced, policy))
        sums = adding_chains(traced.network, policy, made)
        flow = Flow(merged_trace(runs.trace, traced.model, made, sums), policy.removed)
        content = uncalibrated_onnx(model, flow, runs.bits(flow, policy.bits), scheme, shape)
    else:
        content = onnx_bytes(model, shape)
    return half_model(content) if floats_of(header) == "fp16" else content


def network_of(traced: TracedModel, policy: Policy) -> tuple[nn.Module, tuple[int, ...]]:
    """A network of the policy's shapes, first channels kept, and the shape of its input."""
    import torch

    groups, policy = traced.network.groups, without_gates(traced.network, policy)
    kept = {
        group.name: torch.arange(policy.channels.get(group.name, group.channels))
        for group in groups
        if policy.channels.get(group.name, group.channels) < group.channels
    }
    model = smaller(traced.model, groups, kept, frozenset(policy.removed))
    made = merged_chains(traced, policy)
    adding = adding_chains(traced.network, policy, made)
    for chain in made:
        merge_layers(model, chain, adds=chain in adding)
    units = {unit.name: unit for unit in units_of(traced.network)}
    positions = kept_positions(traced.model, groups, kept)
    for name, form in chosen_alternatives(traced, policy).items():
        put(model, units[name], build(block_form(form), units[name]), positions)
    model = in_place(model, further_parts(traced.model, policy))
    return model, input_shape(traced, policy)


def size_notes(priced: Sequence[int], data: Sequence[int]) -> tuple[str, ...]:
    """What to say where a network is priced at another size than the data's."""
    if tuple(priced) == tuple(data):
        return ()
    full, crop = ("x".join(map(str, shape[1:])) for shape in (priced, data))
    return (
        f"priced and exported for inputs of {full}, scored on {crop}; the resolution is not chosen",
    )


def input_shape(traced: TracedModel, policy: Policy) -> tuple[int, ...]:
    """Shape of one input at the policy's resolution."""
    shape = traced.network.input_shape
    if policy.resolution and len(shape) == 4:
        return (*shape[:2], policy.resolution, policy.resolution)
    return shape
