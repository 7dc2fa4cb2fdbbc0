"""Which embedded example is compressed where no model is named: one that the budget bites on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from automl.cost import Cost, resolve_budget
from automl.example import EXAMPLES, Example
from automl.export import onnx_bytes
from automl.latency import LatencyTable, find_table, is_cpu_table
from automl.network import trace_network
from automl.options import SearchOptions
from automl.pipeline.pricing import measure_here, price_network
from automl.pipeline.requests import Event, OnEvent, ignore
from automl.units import QUANTITIES, format_quantity, parse_budget
from automl.userdata import load_model

#: A limit that asks for no time, so that nothing is measured operator by operator.
_UNTIMED: Final = ("100%MACs",)
#: Most seconds that whole networks are measured for.
_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class ExampleChoice:
    """An example, and what to say of why it was chosen.

    Attributes:
        example: The first that does not meet the budget as it is; the very first where all do.
        notes: What those before it cost; () where there are none.
    """

    example: Example
    notes: tuple[str, ...] = ()


def choose_example(options: SearchOptions, on_event: OnEvent = ignore) -> ExampleChoice:
    """The first example whose dense network does not meet every budget that is asked for.

    Args:
        options: Target and budgets.
        on_event: Told of progress.

    Raises:
        TargetError, TableError: The target is not known or cannot price the networks.
        UsageError: A limit that the target cannot be held to.
    """
    met: list[str] = []
    for example in EXAMPLES:
        on_event(Event("choosing an example", len(met), len(EXAMPLES)))
        found = None if _asks_for_less(options) else _cost_within(example, options, on_event)
        if found is None:
            limits = " and ".join(options.budget)
            note = f"{' and '.join(met)} meets {limits} as it is: the {example.name} is searched"
            return ExampleChoice(example, (note,) if met else ())
        met.append(f"the {example.name} ({found})")
    return ExampleChoice(EXAMPLES[0])


def _asks_for_less(options: SearchOptions) -> bool:
    """Whether a limit is a share of the dense network's cost, which no dense network meets."""
    limits = [parse_budget(text) for texts in options.budgets for text in texts]
    return any(limit.relative and limit.value < 1.0 for limit in limits)


def _cost_within(example: Example, options: SearchOptions, on_event: OnEvent) -> str | None:
    """What an example's dense network costs, in words; None where it exceeds a budget."""
    table = find_table(options.target, threads=options.threads)
    unit = table.header.unit
    cost = _dense_cost(example, options, table, on_event)
    for texts in options.budgets:
        if not resolve_budget(map(parse_budget, texts), cost, unit=unit).allows(cost):
            return None
    words = [
        format_quantity(each, cost.value(each), unit)
        for each in QUANTITIES
        if each in options.limited
    ]
    if "latency" in options.limited:
        words[0] += " fitted" if cost.fitted > 0 else " simulated" if unit == "cycles" else ""
    return ", ".join(words)


def _dense_cost(
    example: Example, options: SearchOptions, table: LatencyTable, on_event: OnEvent
) -> Cost:
    """What an example's dense network costs; on this machine its time is measured, whole."""
    model, shape = load_model(example.model), example.input_shape
    traced = trace_network(model, shape, resolutions=(), seed=options.seed)
    here = is_cpu_table(table, options.threads)
    if not (here and "latency" in options.limited):
        return price_network(traced, options, on_event=on_event).costs.dense
    plain = replace(options, budget=_UNTIMED, measure=False, ssh=(), python="python3")
    cost = price_network(traced, plain, on_event=on_event).costs.dense
    timed = measure_here({"dense": onnx_bytes(traced.model, shape)}, options.threads, _SECONDS)
    return replace(cost, latency=timed["dense"])
