"""Which forms of layers a target offers."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from automl.compression import form_of, saves_bytes_alone
from automl.errors import UsageError
from automl.latency import LatencyTable
from automl.pipeline.precision import precisions_of
from automl.policy import Precisions, with_kernel


def kernels_of(table: LatencyTable) -> frozenset[str]:
    """Special kernels that a table has rows of, or coefficients for."""
    fitted = (table.header.coefficients or {}).get("precisions")
    names = {row.key.precision for row in table.rows}
    return Precisions((*names, *(fitted if isinstance(fitted, dict) else ()))).kernels


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
