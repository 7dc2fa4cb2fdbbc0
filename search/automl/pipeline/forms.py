"""Which forms of layers a target offers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from automl.compression import form_of, saves_bytes_alone
from automl.errors import UsageError
from automl.latency import LatencyTable, Pricer, op_key
from automl.network import Layer
from automl.pipeline.precision import precisions_of
from automl.policy import Bits, Precisions, operators_bytes, with_kernel
from automl.space import Offered, Space
from automl.units import Quantity


def kernels_of(table: LatencyTable) -> frozenset[str]:
    """Special kernels that a table has rows of, or coefficients for."""
    fitted = (table.header.coefficients or {}).get("precisions")
    names = {row.key.precision for row in table.rows}
    return Precisions((*names, *(fitted if isinstance(fitted, dict) else ()))).kernels


#: Of a layer's price, what another form may cost at most to be offered as one that pays: closer
#: ones are within what prices are known to.
PAYS: Final = 0.95


def paying(price: Pricer, limited: Collection[Quantity], precisions: Sequence[str]) -> Offered:
    """What offers a layer the ways that cost less than itself, by any quantity that is limited.

    Args:
        price: Of operators.
        limited: Quantities that the budget limits.
        precisions: That layers may compute in: less in one of them is enough.
    """

    def offered(layer: Layer, ways: Sequence[Sequence[Layer]]) -> Sequence[bool]:
        every, costs = [[layer], *ways], list[Sequence[float]]()
        if "macs" in limited:
            costs.append([sum(each.macs for each in way) for way in every])
        if "bytes" in limited:
            costs.append([float(operators_bytes(way, Bits())) for way in every])
        if {*limited} & {"latency", "joules"}:
            for name in precisions:
                keys = [op_key(each, name) for way in every for each in way]
                seconds = iter(price.lookup(keys).seconds.tolist())
                costs.append([sum(next(seconds) for _ in way) for way in every])
        # a price that is not known is not less
        return [any(way <= PAYS * whole for whole, way in pairs) for pairs in _beside(costs)]

    return offered


def _beside(costs: Sequence[Sequence[float]]) -> Iterator[Sequence[tuple[float, float]]]:
    """For each way, its cost by each measure beside that of the layer, which comes first."""
    for place in range(1, len(costs[0])):
        yield [(each[0], each[place]) for each in costs]


def opened_notes(space: Space) -> tuple[str, ...]:
    """What to say of forms that were opened where they pay."""
    variables = [space.variables[place] for place in space.of_kind("form")]
    if not variables:
        return ("no form is open: none costs less than its layer on this target",)
    most = max(len(each.options) - 1 for each in variables)
    return (f"forms of {len(variables)} layers are open where they cost less, {most} at most",)


def check_forms(
    names: Sequence[str], target: str, table: LatencyTable, limited: Collection[str]
) -> tuple[str, ...]:
    """What to say of forms that were asked for by name.

    Args:
        names: Of forms.
        target: Its name, for messages.
        table: Its prices.
        limited: Quantities that the budget limits.

    Raises:
        UsageError: One that needs a kernel which the target has no rows of.
    """
    known, dense = kernels_of(table), precisions_of(table.header).dense
    for name in names:
        kernel = form_of(name).kernel
        if kernel and kernel not in known:
            raise UsageError(
                f"{name} needs a kernel of its own, and {target} has no rows of one"
                f" ({with_kernel(dense, kernel)}): what it takes there is not known",
                options=("choices",),
            )
    alone = [name for name in names if saves_bytes_alone(form_of(name))]
    if not alone:
        return ()
    unlimited = "" if "bytes" in limited else "; no size is limited"
    return (
        f"{', '.join(alone)}: runs as the layer itself, at its price; what it saves is size"
        f"{unlimited}",
    )
