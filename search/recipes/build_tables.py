"""Builds latency_tables/*.jsonl, docs/devices.md, its figure and "Device errors" in docs/trust.md.

    python search/recipes/build_tables.py --data ../shared/device_data

The output is the same for the same data. No raw file is copied: tables hold fitted coefficients,
and rows where the source measured single operators.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import bitfusion
from device_data import Citation, Timed, UnitKey
from device_page import covered, page, scatter, with_section
from fitted_units import Fitted, fit_all
from table_specs import RK3399, SPECS, TableSpec

from automl.latency.header import FittedOverhead, KnownError, TableHeader
from automl.latency.predict import Roofline
from automl.latency.rows import Row, row_line

ROOT = Path(__file__).resolve().parents[2]


def _sources(timed: Iterable[Timed]) -> str:
    cited: dict[Citation, None] = dict.fromkeys(one.citation for one in timed)
    return "; ".join(
        f"{one.repository} {one.path} @{one.commit} (licence: {one.licence})" for one in cited
    )


def header(spec: TableSpec, fitted: Mapping[UnitKey, Fitted]) -> TableHeader:
    """What the table says of itself."""
    parts = {unit.precision: fitted[unit] for unit in spec.units}
    first, unit = fitted[spec.units[0]], spec.units[0]
    timed = [each for one in parts.values() for each in one.timed]
    versions = list(dict.fromkeys(each.version for each in timed if each.version))
    predictor = Roofline({precision: one.unit for precision, one in parts.items()})
    what = "single operators" if unit.runtime == "tvm-autotvm" else "whole networks"
    held = ", ".join(
        f"{precision}: {one.stated:.1%}, mean {one.held_out.error:.1%}, rank correlation"
        f" {one.held_out.rank_correlation:.2f} ({len(one.timed)} {what}, {_count(one)})"
        for precision, one in parts.items()
    )
    stated = {precision: round(one.stated, 4) for precision, one in parts.items()}
    return TableHeader(
        name=spec.name,
        aliases=spec.aliases,
        device=unit.device,
        soc=first.timed[0].soc,
        runtime=unit.runtime,
        runtime_version=versions[0] if len(versions) == 1 else "",
        threads=spec.threads,
        precisions=tuple(parts),
        power_mode=spec.power_mode,
        conditions="; ".join([spec.conditions, *(versions if len(versions) > 1 else ())]),
        provenance=f"Fitted to timings that others published: {_sources(timed)}",
        overhead=_overhead(predictor, unit, first),
        coefficients=predictor.coefficients(),
        known_error=KnownError(
            relative=max(stated.values()),
            on=f"families of networks and sources left out of the fit, two thirds within: {held}",
            by_precision=stated,
        ),
    )


def _count(one: Fitted) -> str:
    families, sources = one.families, one.sources
    return (
        f"{families} famil{'ies' if families > 1 else 'y'}, {sources} source{'s' * (sources > 1)}"
    )


def _overhead(predictor: Roofline, unit: UnitKey, first: Fitted) -> FittedOverhead | None:
    if unit.runtime == "tvm-autotvm":
        return None
    return FittedOverhead(
        scale=1.0,
        seconds_per_operator=0.0,
        seconds_per_call=float(f"{predictor.constant(unit.precision):.6g}"),
        networks=len(first.timed),
        error=round(first.stated, 4),
    )


def rows(timed: Sequence[Timed]) -> list[Row]:
    """Measured operators, one row each."""
    origin = {one.citation: f"{one.citation.repository} {one.citation.path}" for one in timed}
    return [Row(one.keys[0], one.seconds, origin=origin[one.citation]) for one in timed]


def table_text(described: TableHeader, measured: Sequence[Row] = ()) -> str:
    """A table file's content."""
    first = described.model_dump_json(exclude_defaults=True, exclude_none=True)
    version = f'{{"schema_version":{described.schema_version},'
    lines = [version + first[1:], *(row_line(row, described.unit) for row in measured)]
    return "\n".join(lines) + "\n"


def build(folder: Path) -> dict[str, str]:
    """Content of every shipped file by its path below the repository."""
    fitted = fit_all(folder)
    files = {
        f"latency_tables/{spec.name}.jsonl": table_text(header(spec, fitted)) for spec in SPECS
    }
    board = fitted[RK3399.units[0]]
    files[f"latency_tables/{RK3399.name}.jsonl"] = table_text(
        header(RK3399, fitted), rows(board.timed)
    )
    files["latency_tables/bitfusion.jsonl"] = table_text(bitfusion.header(), bitfusion.rows(folder))
    files["docs/devices.md"] = page(folder, fitted)
    files["docs/devices.svg"] = scatter(fitted)
    trust = ROOT / "docs" / "trust.md"
    before = trust.read_text(encoding="utf-8") if trust.is_file() else ""
    files["docs/trust.md"] = with_section(before, covered(fitted))
    return files


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Build the shipped latency tables.")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "device_data")
    parser.add_argument("--out", type=Path, default=ROOT)
    options = parser.parse_args(arguments)
    for name, text in build(options.data).items():
        path = options.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
        print(path.relative_to(options.out), f"{len(text) / 1024:.1f} KiB")


if __name__ == "__main__":
    main()
