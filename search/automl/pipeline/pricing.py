"""From a network and a target to prices; on this machine what the table lacks is measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from automl.compression import form_of
from automl.cost import CostModel, Overhead, build_cost_model, named, operators_of, required_keys
from automl.documents import fault_of, read_json
from automl.errors import Raised, StudyError, TableError, attempt
from automl.files import write_whole
from automl.latency import (
    CorrectedPricer,
    FittedOverhead,
    GaussianPricer,
    LatencyTable,
    OpKey,
    Pricer,
    find_table,
    is_cpu_table,
    most_telling,
)
from automl.network import TracedModel
from automl.options import SearchOptions
from automl.pipeline.clock import measuring_here, time_here
from automl.pipeline.forms import (
    PlainElsewhere,
    check_forms,
    knows_shapes,
    offered_alternatives,
    open_priced,
    opened_notes,
    paying,
    priced_names,
)
from automl.pipeline.granularity import free_granularity, learn_granularity, probe_keys
from automl.pipeline.networks import fit_networks, fitting_vectors
from automl.pipeline.precision import BitChoices, bits_for, precisions_of, used_names
from automl.pipeline.requests import Event, OnEvent
from automl.policy import Policy, Precisions
from automl.profiling import (
    LocalRunner,
    is_settled,
    probe,
    profile,
    runtime_of_table,
    settle_arithmetic,
)
from automl.space import MAXIMUM_OPTIONS, Offered, Space, SpaceSettings, open_space

#: Stage in which what the table lacks is measured.
MEASURING: Final = "measuring operators"
#: Channel counts a side of a layer that are priced where most prices are predicted.
COUNTS: Final = 16
#: What is measured before a search: relative uncertainty of each operator that is left, share of
#: the operators at most, and so many beside the fitted networks' at least.
FIRST_UNCERTAINTY, FIRST_SHARE, FEWEST_MORE = 0.12, 0.15, 8
#: What is said of prices that no device had.
SIMULATED: Final = (
    "its cycles are simulated, and those of convolutions and linear layers alone: what else the "
    "network does is not in them; channels and input size stay unless they are asked for"
)


@dataclass(frozen=True, slots=True)
class PricedNetwork:
    """A traced network with its choices and their prices on a target.

    Attributes:
        traced: The network.
        table: The target's table.
        here: Whether the table is this machine's.
        adaptive: Whether this machine measures as much as a search turns out to need.
        space: The choices.
        costs: Their prices.
        overhead: From the sum of operators to the network.
        error: Known relative error of predicted latencies; None where not known.
        description: The target in words.
        notes: What the user should know.
        rows: Operators that were measured for it.
    """

    traced: TracedModel
    table: LatencyTable
    here: bool
    adaptive: bool
    space: Space
    costs: CostModel
    overhead: Overhead
    error: float | None
    description: str
    notes: tuple[str, ...]
    rows: int = 0


def price_network(
    traced: TracedModel,
    options: SearchOptions,
    *,
    on_event: OnEvent,
    keep: Path | None = None,
) -> PricedNetwork:
    """Price a network's choices on a target. Where no time is limited nothing is measured.

    Args:
        traced: The network.
        options: The target, what may vary, and which quantities are limited.
        on_event: Told of measurements.
        keep: File that the fitted overhead is kept in, so that a resumed study has the same prices.

    Raises:
        TargetError, TableError: The target is not known or cannot price the network.
        UsageError: Precisions that the target lacks.
    """
    table = find_table(options.target, threads=options.threads)
    if not (is_cpu_table(table, options.threads) and "latency" in options.limited):
        return _priced(traced, options, table, on_event, keep)
    refuse_untimed(operators_of(traced.network, Policy(), precisions_of(table.header)))
    with measuring_here():  # what another process measured meanwhile is read, not measured again
        table = find_table(options.target, threads=options.threads)
        return _priced(traced, options, table, on_event, keep)


def _priced(
    traced: TracedModel,
    options: SearchOptions,
    table: LatencyTable,
    on_event: OnEvent,
    keep: Path | None,
) -> PricedNetwork:
    here, timed = is_cpu_table(table, options.threads), "latency" in options.limited
    precisions = precisions_of(table.header)
    computed = {precisions.name_of(each) for each in bits_for(options, precisions).precisions}
    forms = options.opened.forms
    notes = [*check_forms(forms, options.target, table, options.limited, computed)]
    bits = _bits(options, table, here=here)
    device = _Device(table, options.threads, on_event, notes) if here and timed else None
    space, refused = _space(traced, table, options, bits, device)
    notes += refused
    notes += [*bits.notes, *([SIMULATED] if precisions.simulated else [])]
    notes += opened_notes(space, options.opened) if options.opened.paying else ()
    overhead = _header_overhead(table.header.overhead)
    error = _header_error(table, [precisions.name_of(each) for each in bits.precisions])
    if device is not None:
        device.fill(first_operators(traced, space, options.seed, precisions), MEASURING)
        fitted = _kept_overhead(keep, device, traced, space, options.seed)
        overhead, error = _header_overhead(fitted), fitted.error
    costs = build_cost_model(
        traced.network,
        space,
        search_pricer(table, options, here=here),
        overhead=overhead,
        precisions=precisions,
        counts=COUNTS if here else MAXIMUM_OPTIONS + 1,  # lookups are free
        allow_missing=not timed,
    )
    words = describe(table, used_names(bits.precisions, precisions), error)
    return PricedNetwork(
        traced=traced,
        table=table,
        here=here,
        adaptive=device is not None,
        space=space,
        costs=costs,
        overhead=overhead or Overhead(),
        error=error,
        description=words,
        notes=tuple(dict.fromkeys((*notes, *_bounds(costs)))),
        rows=0 if device is None else sum(device.rows),
    )


def _bits(options: SearchOptions, table: LatencyTable, *, here: bool) -> BitChoices:
    """What layers may be given; of this machine it is found out how it computes integers."""
    bits = bits_for(options, precisions_of(table.header))
    if here and bits.integers and not is_settled(table.header):
        alone = "latency" in options.limited  # no other process measures here now
        with (
            nullcontext() if alone else measuring_here(),
            LocalRunner(threads=options.threads) as runner,
        ):
            settle_arithmetic(table, runner)
    return bits


def _bounds(costs: CostModel) -> tuple[str, ...]:
    """What to say where an operator with weights has no price."""
    if not costs.unpriced:
        return ()
    return (f"{named(costs.unpriced)} has weights and no price: what is predicted is at least so",)


def _space(
    traced: TracedModel,
    table: LatencyTable,
    options: SearchOptions,
    bits: BitChoices,
    device: _Device | None,
) -> tuple[Space, tuple[str, ...]]:
    """The choices, channels in steps that save time where time is limited, and what to say."""
    network, precision, opened = traced.network, float_precision(table), options.opened
    resolutions = options.resolutions if opened.resolution else ()
    steps: int | dict[str, int] | None = options.round_to
    if not opened.channels:
        steps = {group.name: group.channels for group in network.groups}
    if not knows_shapes(table):
        resolutions = resolutions or ()
        steps = steps or {group.name: group.channels for group in network.groups}
    if steps is None and device is not None:
        device.fill(probe_keys(network, precision), "granularity")
    if steps is None and "latency" in options.limited:
        steps = learn_granularity(network, table, precision)
    settings = SpaceSettings(
        round_to=free_granularity(network) if steps is None else steps,
        resolutions=resolutions,
        depth=opened.blocks,
        precisions=bits.precisions,
        weight_only=bits.weight_only,
        keep_first_last=bits.keep_first_last,
        kinds=opened.kinds,
        forms=opened.forms,
        alternatives=offered_alternatives(opened, options.target, table),
        offered=_offered(table, options, bits, here=device is not None),
    )
    pricer = search_pricer(table, options, here=device is not None)
    if pricer is None or device is not None or "latency" not in options.limited:
        return open_space(network, settings), ()
    names, most = precisions_of(table.header), MAXIMUM_OPTIONS + 1
    return open_priced(network, settings, pricer, options.target, precisions=names, counts=most)


def _offered(
    table: LatencyTable, options: SearchOptions, bits: BitChoices, *, here: bool
) -> Offered | None:
    """Which ways to run are offered to layers: those that pay where that is asked for."""
    if not options.opened.paying:
        return None
    precisions = precisions_of(table.header)
    names = {precisions.name_of(each) for each in bits.precisions} or {precisions.dense}
    return paying(pricer_of(table) if here else table, options.limited, sorted(names))


def search_pricer(table: LatencyTable, options: SearchOptions, *, here: bool) -> Pricer | None:
    """What a search goes by; None where this machine need not be measured."""
    if here and "latency" not in options.limited:
        return None
    pricer = pricer_of(table) if here or options.measure else table
    special = any(form_of(name).kernel for name in options.opened.forms)
    return PlainElsewhere(pricer, priced_names(table)) if special else pricer


def first_operators(
    traced: TracedModel, space: Space, seed: int, precisions: Precisions
) -> list[OpKey]:
    """What is measured before a search: enough to predict the rest of what it may ask for.

    The operators of the networks that the overhead is fitted on, and those beside them that tell
    most, until each other operator is known to `FIRST_UNCERTAINTY` or a share of `FIRST_SHARE` is
    to be measured.
    """
    network = traced.network
    policies = [space.decode(vector) for vector in fitting_vectors(space, seed)]
    first = [key for each in policies for key in operators_of(network, each, precisions)]
    first = list(dict.fromkeys(first))
    wanted = required_keys(network, space, precisions=precisions)
    most = max(int(FIRST_SHARE * len(wanted)) - len(first), FEWEST_MORE)
    return [*first, *most_telling(wanted, first, most, FIRST_UNCERTAINTY)]


def refuse_untimed(keys: Iterable[OpKey]) -> None:
    """Raise TableError where this machine has no way to time some operators, before any is timed.

    Args:
        keys: Of the dense network.
    """
    kinds = {(key.op, key.detail): key for key in keys}
    found = {kind: attempt(partial(probe, key)) for kind, key in kinds.items()}
    refused = [str(each.error) for each in found.values() if isinstance(each, Raised)]
    if refused:
        raise TableError(
            f"the network's time cannot be told: {'; '.join(refused)}; limit its MACs or its size",
            options=("budget",),
        )


def pricer_of(table: LatencyTable) -> Pricer:
    """What a table that is being measured says of operators that it has no row of yet."""
    fitted = table.header.coefficients is not None
    return CorrectedPricer(table) if fitted else GaussianPricer.of(table)


@dataclass(frozen=True, slots=True)
class _Device:
    """This machine, which measures what its table lacks."""

    table: LatencyTable
    threads: int
    on_event: OnEvent
    notes: list[str]
    rows: list[int] = field(default_factory=list)

    def fill(self, keys: Sequence[OpKey], stage: str) -> None:
        """Measure operators without a row."""
        missing = self.table.lacks(keys)
        doubtful = () if self.rows else self.table.doubtful(keys)  # of an earlier search
        if not (missing or doubtful):
            return
        self.on_event(Event(stage, 0, len(missing) + len(doubtful)))
        with LocalRunner(threads=self.threads) as runner:
            report = profile(
                self.table,
                (*missing, *doubtful),
                runner,
                progress=lambda done, total, _: self.on_event(Event(stage, done, total)),
            )
        self.rows.append(report.measured)
        if report.doubtful:
            self.notes.append(
                f"{report.doubtful} operators were measured while the machine was busier than at "
                "first: their times are doubtful until a search or profile finds it quiet"
            )
        self.notes.extend(report.warnings)
        refused = report.refused.items()
        self.notes.extend(f"{key.op} is not measured: {why}" for key, why in refused)

    def fit(self, traced: TracedModel, space: Space, seed: int) -> FittedOverhead:
        """Measure whole networks, for what they cost beyond their operators."""
        with LocalRunner(threads=self.threads) as runner:
            pricer = pricer_of(self.table)
            fitted = fit_networks(traced, self.table, space, runner, seed, self.on_event, pricer)
        return fitted.overhead


def float_precision(table: LatencyTable) -> str:
    """The precision in which a target runs a network that is not quantised."""
    return precisions_of(table.header).dense


def describe(table: LatencyTable, precision: str, error: float | None) -> str:
    """The target in words, with what is known of its error."""
    header = table.header
    runtime = f"{header.runtime} {header.runtime_version}".strip()
    counted = header.threads if not runtime_of_table(header.runtime).gpu else None
    threads = f", {counted} thread{'s' * (counted > 1)}" if counted else ""
    kind = "measured operators" if len(table) else "fitted, not measured"
    kind = "simulated" if header.unit == "cycles" else kind
    known = f", known error {100 * error:.0f} %" if error is not None else ""
    return f"{header.device}, {runtime} {precision}{threads} ({kind}{known})"


def _kept_overhead(
    keep: Path | None, device: _Device, traced: TracedModel, space: Space, seed: int
) -> FittedOverhead:
    """The overhead that a file holds, else that of now, which it holds then."""
    fitted = _read_overhead(keep) or device.fit(traced, space, seed)
    if keep is not None:
        write_whole(keep, fitted.model_dump_json())
    return fitted


def _read_overhead(path: Path | None) -> FittedOverhead | None:
    if path is None or not path.is_file():
        return None
    try:
        return FittedOverhead.model_validate(read_json(path, StudyError))
    except ValidationError as error:
        raise StudyError(f"{path}: {fault_of(error)}; delete it to fit it anew") from error


def _header_overhead(fitted: FittedOverhead | None) -> Overhead | None:
    if fitted is None:
        return None
    return Overhead(
        fitted.scale, fitted.seconds_per_operator, fitted.seconds_per_call, fitted.integers
    )


def _header_error(table: LatencyTable, names: Sequence[str]) -> float | None:
    """The known error of the worst of some precisions, or of the one that is not chosen from."""
    known = table.header.known_error
    if known is None:
        return None
    return max(known.of(name) for name in names or [float_precision(table)])


def measure_here(models: dict[str, bytes], threads: int, seconds: float = 12.0) -> dict[str, float]:
    """Seconds of whole networks on this machine, interleaved."""
    return {name: each.seconds for name, each in time_here(models, threads, seconds).items()}
