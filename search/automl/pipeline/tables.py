"""What is done with whole tables: merged, compared, checked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from automl.cost import operators_of, required_keys, unpriced_in
from automl.errors import SpaceError, TableError
from automl.latency import (
    Comparison,
    Coverage,
    Finding,
    LatencyTable,
    OpKey,
    Side,
    check_file,
    compare_tables,
    coverage,
    find_table,
    list_targets,
    merge,
    read_header,
)
from automl.network import Network, trace_network
from automl.pipeline.granularity import learn_granularity
from automl.pipeline.precision import precisions_of
from automl.pipeline.pricing import float_precision
from automl.pipeline.requests import ProfileRequest
from automl.policy import Policy
from automl.space import build_space


@dataclass(frozen=True, slots=True)
class MergedTable:
    """A table that was written, with the rows that came from either."""

    path: Path
    name: str
    rows: int
    first: int
    second: int


@dataclass(frozen=True, slots=True)
class TableComparison:
    """Two tables beside each other; `unit` is that of their times."""

    first: str
    second: str
    unit: str
    comparison: Comparison


@dataclass(frozen=True, slots=True)
class TableCheck:
    """What a table says wrong, and how it covers a model; `path` is the file.

    `unpriced` are the model's operators that have weights and that no row can price.
    """

    path: Path
    name: str
    rows: int
    findings: tuple[Finding, ...]
    coverage: Coverage | None = None
    unpriced: tuple[str, ...] = ()

    @property
    def impossible(self) -> bool:
        """Whether something was found that no device can have done."""
        return any(finding.kind not in ("noise", "order", "boards") for finding in self.findings)


def merge_tables(first: str, second: str, out: Path, prefer: Side | None = None) -> MergedTable:
    """Merge two tables of one device into a new file.

    Raises:
        TableError: The tables do not belong together or disagree, or `out` is there already.
        TargetError: There is no such table.
    """
    one, other = find_table(first), find_table(second)
    header, rows = merge(one, other, prefer=prefer)
    table = LatencyTable.create(out, header.model_copy(update={"name": out.stem}), rows)
    return MergedTable(out, table.name, len(table), len(one), len(other))


def diff_tables(first: str, second: str, worst: int = 10) -> TableComparison:
    """Where two tables disagree and by how much.

    Raises:
        TableError: Tables of different units.
        TargetError: There is no such table.
    """
    one, other = find_table(first), find_table(second)
    found = compare_tables(one, other, worst=worst)
    return TableComparison(one.name, other.name, one.header.unit, found)


def check_table(target: str, request: ProfileRequest | None = None) -> TableCheck:
    """Check a table's file line by line, and how it answers a search over a model.

    Args:
        target: A file, or the name of a table.
        request: The model and its choices; None leaves the coverage out.

    Raises:
        TableError: The file or its header cannot be read.
        TargetError: There is no such table.
    """
    path = Path(target)
    if not os.path.isfile(path):
        found = find_table(target).path
        if found is None:
            raise TableError(f"table {target!r} has no file to check")
        path = found
    table, findings = check_file(path, list(_devices(path)))
    covered: Coverage | None = None
    unpriced: tuple[str, ...] = ()
    if request is not None and request.model is not None:
        network = trace_network(
            request.model, request.input_shape, resolutions=request.resolutions
        ).network
        covered = coverage(table, search_keys(table, request, network))
        unpriced = unpriced_in(network, precisions_of(table.header))
    return TableCheck(path, table.name, len(table), findings, covered, unpriced)


def _devices(path: Path) -> Iterator[LatencyTable]:
    """The known devices with predictors, but for the one of that file."""
    for target in list_targets():
        known = target.path.is_file() and target.path.resolve() != path.resolve()
        if known and not target.problem:
            header = read_header(target.path)
            if header.coefficients is not None and header.unit == "seconds":
                yield LatencyTable(header)


def search_keys(table: LatencyTable, request: ProfileRequest, network: Network) -> list[OpKey]:
    """Operators that a search over the request's network can ask this table for."""
    precision = float_precision(table)
    steps: int | dict[str, int] | None = request.round_to
    if steps is None:
        steps = learn_granularity(network, table, precision)
    try:
        space = build_space(
            network, round_to=steps, resolutions=request.resolutions, depth=request.depth
        )
    except SpaceError:  # nothing may vary: the network itself is all that can be asked for
        return operators_of(network, Policy(), precisions_of(table.header))
    return required_keys(network, space, precisions=precisions_of(table.header))
