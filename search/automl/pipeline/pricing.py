"""From a network and a target to prices; on this machine what the table lacks is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError
from torch import nn

from automl.cost import CostModel, Overhead, build_cost_model, required_keys
from automl.delivery.export import onnx_bytes
from automl.errors import StudyError
from automl.files import write_whole
from automl.latency.header import Overhead as FittedOverhead
from automl.latency.keys import OpKey
from automl.latency.table import LatencyTable
from automl.latency.targets import cpu_table, find_table
from automl.network.cut import smaller
from automl.network.read import Reading
from automl.pipeline.granularity import free_granularity, learn_granularity, probe_keys
from automl.policy import Policy
from automl.profiling.overhead import fit_overhead
from automl.profiling.profile import measure_models, profile
from automl.profiling.runner import LocalRunner
from automl.requests import Event, OnEvent
from automl.space import Space, build_space

#: Networks, beside the dense one, that the overhead is fitted on.
FIT_NETWORKS = 7
#: An overhead is not fitted on fewer.
FEWEST_NETWORKS = 3
#: Seconds that they may take, all together.
FIT_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Priced:
    """A space with its prices.

    Attributes:
        table: The target's table.
        here: Whether the table is this machine's, so that it can be measured.
        space: The choices.
        costs: Their prices.
        error: Known relative error of predicted latencies; None where not known.
        description: The target in words.
        notes: What the user should know.
    """

    table: LatencyTable
    here: bool
    space: Space
    costs: CostModel
    error: float | None
    description: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Choices:
    """What may vary: granularity of channels (None learns it), depth, resolutions (None: all)."""

    round_to: int | None = None
    depth: bool = True
    resolutions: tuple[int, ...] | None = None


def price(
    reading: Reading,
    target: str,
    choices: Choices,
    *,
    threads: int,
    timed: bool,
    seed: int,
    on_event: OnEvent,
    keep: Path | None = None,
) -> Priced:
    """Price a network's choices on a target.

    Args:
        reading: The network.
        target: Name of a target, or path of a table.
        choices: What may vary.
        threads: CPU threads, where this machine is meant.
        timed: Whether a latency is limited; without it nothing is measured.
        seed: Of the networks that the overhead is fitted on.
        on_event: Told of measurements.
        keep: File that the fitted overhead is kept in, so that a resumed study has the same prices.

    Raises:
        TargetError, TableError: The target is not known or cannot price the network.
    """
    table = find_table(target, threads=threads)
    here = table.path is not None and table.path == cpu_table(threads).path
    precision = float_precision(table)
    network, notes = reading.network, list[str]()
    if here and timed and choices.round_to is None:
        _fill(table, probe_keys(network, precision), threads, "granularity", on_event, notes)
    steps = _granularity(reading, table, choices, precision, timed)
    space = build_space(
        network, round_to=steps, resolutions=choices.resolutions, depth=choices.depth
    )
    overhead, error = _header_overhead(table.header.overhead), _header_error(table)
    if here and timed:
        keys = required_keys(network, space, precision=precision)
        _fill(table, keys, threads, "measuring operators", on_event, notes)
        fitted = _kept(keep)
        if fitted is None:
            fitted = _fit(reading, table, space, precision, threads, seed, on_event)
            if keep is not None:
                write_whole(keep, fitted.model_dump_json())
        overhead, error = _header_overhead(fitted), fitted.error
    costs = build_cost_model(
        network,
        space,
        table if timed or not here else None,
        overhead=overhead,
        precision=precision,
        allow_missing=not timed,
    )
    words = describe(table, precision, error)
    return Priced(table, here, space, costs, error, words, tuple(dict.fromkeys(notes)))


def float_precision(table: LatencyTable) -> str:
    """The precision in which a target runs a network that is not quantised."""
    offered = table.header.precisions
    return "fp32" if "fp32" in offered else offered[0]


def describe(table: LatencyTable, precision: str, error: float | None) -> str:
    """The target in words, with what is known of its error."""
    header = table.header
    runtime = f"{header.runtime} {header.runtime_version}".strip()
    threads = f", {header.threads} thread{'s' * (header.threads > 1)}" if header.threads else ""
    kind = "measured operators" if len(table) else "fitted, not measured"
    known = f", known error {100 * error:.0f} %" if error is not None else ""
    return f"{header.device}, {runtime} {precision}{threads} ({kind}{known})"


def _granularity(
    reading: Reading, table: LatencyTable, choices: Choices, precision: str, timed: bool
) -> int | dict[str, int]:
    if choices.round_to is not None:
        return choices.round_to
    if not timed:
        return free_granularity(reading.network)
    return learn_granularity(reading.network, table, precision)


def _fill(
    table: LatencyTable,
    keys: Sequence[OpKey],
    threads: int,
    stage: str,
    on_event: OnEvent,
    notes: list[str],
) -> None:
    missing = table.lacks(keys)
    if not missing:
        return
    on_event(Event(stage, 0, len(missing)))
    with LocalRunner(threads=threads) as runner:
        report = profile(
            table,
            missing,
            runner,
            progress=lambda done, total, _: on_event(Event(stage, done, total)),
        )
    if report.doubtful:
        notes.append(
            f"{report.doubtful} operators were measured while the machine was busier than at "
            "the start: their times are doubtful"
        )
    notes.extend(f"{key.op} is not measured: {why}" for key, why in report.refused.items())


def _fit(
    reading: Reading,
    table: LatencyTable,
    space: Space,
    precision: str,
    threads: int,
    seed: int,
    on_event: OnEvent,
) -> FittedOverhead:
    """Overhead and error of this network's predictions, from a few random policies measured."""
    plain = build_cost_model(reading.network, space, table, precision=precision)
    drawn = space.random(FIT_NETWORKS, np.random.default_rng(seed))
    vectors = np.unique(np.concatenate([space.dense[None], drawn]), axis=0)
    if len(vectors) < FEWEST_NETWORKS:  # a space with hardly a choice: the same ones once more
        vectors = np.resize(vectors, (FEWEST_NETWORKS, vectors.shape[1]))
    models, counts = {}, []
    for number, vector in enumerate(vectors):
        on_event(Event("fitting overhead", number, len(vectors)))
        policy = space.decode(vector)
        model, shape = network_of(reading, policy)
        models[str(number)] = onnx_bytes(model, shape)
        counts.append(len(reading.network.shapes(policy.channels, policy.removed)))
    with LocalRunner(threads=threads) as runner:
        times = measure_models(models, runner, seconds_cap=FIT_SECONDS)
    measured = [times[name].seconds for name in models]
    fitted = fit_overhead(plain.price(vectors)[:, 0].tolist(), counts, measured)
    on_event(Event("fitting overhead", len(vectors), len(vectors)))
    return fitted


def _kept(path: Path | None) -> FittedOverhead | None:
    if path is None or not path.is_file():
        return None
    try:
        return FittedOverhead.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        raise StudyError(f"{path}: {fault['msg']}; delete it to fit the overhead anew") from error


def network_of(reading: Reading, policy: Policy) -> tuple[nn.Module, tuple[int, ...]]:
    """A network of the policy's shapes, first channels kept, and the shape of its input."""
    import torch

    groups = reading.network.groups
    kept = {
        group.name: torch.arange(policy.channels.get(group.name, group.channels))
        for group in groups
        if policy.channels.get(group.name, group.channels) < group.channels
    }
    model = smaller(reading.model, groups, kept, frozenset(policy.removed))
    return model, input_shape(reading, policy)


def input_shape(reading: Reading, policy: Policy) -> tuple[int, ...]:
    """Shape of one input at the policy's resolution."""
    shape = reading.network.input_shape
    if policy.resolution and len(shape) == 4:
        return (*shape[:2], policy.resolution, policy.resolution)
    return shape


def _header_overhead(fitted: FittedOverhead | None) -> Overhead | None:
    if fitted is None:
        return None
    return Overhead(fitted.scale, fitted.seconds_per_operator, fitted.seconds_per_call)


def _header_error(table: LatencyTable) -> float | None:
    known = table.header.known_error
    return None if known is None else known.relative


def measure_here(models: dict[str, bytes], threads: int, seconds: float = 12.0) -> dict[str, float]:
    """Seconds of whole networks on this machine, interleaved."""
    with LocalRunner(threads=threads) as runner:
        times = measure_models(models, runner, seconds_cap=seconds)
    return {name: timing.seconds for name, timing in times.items()}
