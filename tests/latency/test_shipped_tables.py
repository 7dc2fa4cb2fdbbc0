"""The shipped tables: complete, loadable, and what the build script makes of the device data."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from automl.latency.keys import SOURCES, OpKey
from automl.latency.predict import load_predictor
from automl.latency.rows import parse_row
from automl.latency.table import LatencyTable

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "device_data"
TABLES = sorted((ROOT / "latency_tables").glob("*.jsonl"))
FITTED = [path for path in TABLES if path.stem != "bitfusion"]
sys.path.insert(0, str(ROOT / "search" / "recipes"))

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the device data is not in this checkout")

BLOCK = (
    OpKey("conv2d", 3, 32, (3, 3), (2, 2), (1, 1), in_size=(224, 224), out_size=(112, 112)),
    OpKey(
        "depthwise_conv2d", 32, 32, (3, 3), padding=(1, 1), groups=32,
        in_size=(112, 112), out_size=(112, 112),
    ),
    OpKey("conv2d", 32, 64, in_size=(112, 112), out_size=(112, 112)),
    OpKey("add", 64, 64, in_size=(112, 112), out_size=(112, 112)),
    OpKey("activation", 64, 64, in_size=(112, 112), out_size=(112, 112), detail="silu"),
    OpKey("conv_transpose2d", 64, 16, (2, 2), (2, 2), in_size=(14, 14), out_size=(28, 28)),
    OpKey("global_avg_pool", 64, 64, (112, 112), in_size=(112, 112)),
    OpKey("linear", 64, 10),
)  # fmt: skip


def with_precision(keys, precision):
    return [replace(key, precision=precision) for key in keys]


def test_names_and_aliases_are_unique_and_jetson_is_orin_nano():
    owners: dict[str, str] = {}
    for path in TABLES:
        header = LatencyTable.read(path).header
        assert header.name == path.stem
        for name in (header.name, *header.aliases):
            assert owners.setdefault(name, header.name) == header.name
    assert owners["jetson"] == "jetson-orin-nano"
    expected = {"rpi3b+", "rpi4", "rpi4b", "rpi5", "pixel4", "s10", "mi8se", "a03s", "rk3399"}
    assert expected <= owners.keys()


@pytest.mark.parametrize("path", FITTED, ids=lambda path: path.stem)
def test_header_says_where_values_come_from_and_how_wrong_they_are(path):
    header = LatencyTable.read(path).header
    assert "licence:" in header.provenance
    assert "@" in header.provenance
    assert header.known_error is not None
    assert 0.01 < header.known_error.relative < 0.5
    assert "left out" in header.known_error.on
    assert header.soc
    assert header.conditions
    assert header.runtime != "tensorrt" or header.precisions == ("fp16",)


@pytest.mark.parametrize("path", FITTED, ids=lambda path: path.stem)
def test_every_operator_has_a_time_at_every_precision(path):
    table = LatencyTable.read(path)
    for precision in table.header.precisions:
        found = table.lookup(with_precision(BLOCK, precision))
        assert (found.seconds > 0).all()
        assert (found.seconds < 1).all()
        assert (found.spread[found.source == SOURCES.index("fitted")] > 0).all()
    assert np.isnan(table.lookup(with_precision(BLOCK, "int4")).seconds).all()


@pytest.mark.parametrize("path", FITTED, ids=lambda path: path.stem)
def test_wider_layers_never_cost_less(path):
    table = LatencyTable.read(path)
    predictor = load_predictor(table.header.coefficients)
    for precision in table.header.precisions:
        keys = [
            OpKey("conv2d", 64, width, (3, 3), padding=(1, 1), in_size=(28, 28), out_size=(28, 28))
            for width in range(1, 257)
        ]
        seconds, _ = predictor.predict(with_precision(keys, precision))
        assert (np.diff(seconds) >= -1e-15).all()
        assert seconds[-1] > seconds[0]


def test_bitfusion_holds_simulated_cycles_that_grow_with_bits():
    table = LatencyTable.read(ROOT / "latency_tables" / "bitfusion.jsonl")
    assert table.header.unit == "cycles"
    assert "Simulated" in table.header.conditions
    (head,) = {row.key for row in table.rows if row.key.op == "linear"} & {
        OpKey("linear", 1280, 1000, precision="w8a8")
    }
    less = OpKey("linear", 1280, 1000, precision="w4a8")
    assert table.lookup([head]).seconds[0] > 1.9 * table.lookup([less]).seconds[0]


@needs_data
def test_bitfusion_is_what_the_script_makes():
    import bitfusion
    from build_tables import table_text

    shipped = (ROOT / "latency_tables" / "bitfusion.jsonl").read_text(encoding="utf-8")
    assert shipped == table_text(bitfusion.header(), bitfusion.rows(DATA))


@pytest.fixture(scope="module")
def rebuilt():
    """The Jetson tables, fitted again: the others take longer than a test may."""
    from build_tables import header
    from fitted_units import fit_group, groups
    from table_specs import SPECS

    fitted = {}
    for group in groups(DATA):
        if next(iter(group)).runtime == "tensorrt":
            fitted |= fit_group(group)
    specs = [spec for spec in SPECS if spec.units[0] in fitted]
    return fitted, {spec.name: (spec, header(spec, fitted)) for spec in specs}


def assert_close(found, expected, where):
    """Equal but for the last digits of fitted numbers, which depend on the machine's BLAS."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for name in expected:
            assert_close(found[name], expected[name], f"{where}.{name}")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=2e-3, abs=1e-3 if expected > 1e-3 else 0), where
    else:
        assert found == expected, where


@needs_data
def test_tables_are_what_the_script_makes(rebuilt):
    _, tables = rebuilt
    assert len(tables) == 4
    for name, (_, made) in tables.items():
        shipped = LatencyTable.read(ROOT / "latency_tables" / f"{name}.jsonl").header
        assert_close(made.model_dump(mode="json"), shipped.model_dump(mode="json"), name)


@needs_data
def test_source_networks_are_predicted_with_the_error_on_the_page(rebuilt):
    fitted, tables = rebuilt
    page = (ROOT / "docs" / "devices.md").read_text(encoding="utf-8")
    for name, (spec, header) in tables.items():
        predictor = LatencyTable.read(ROOT / "latency_tables" / f"{name}.jsonl")
        unit = spec.units[0]
        timed = fitted[unit].timed
        sums = [predictor.lookup(one.keys).seconds.sum() for one in timed]
        totals = np.array(sums) + header.overhead.seconds_per_call
        error = np.abs(totals / np.array([one.seconds for one in timed]) - 1).mean()
        assert error == pytest.approx(fitted[unit].in_sample.error, abs=2e-3)
        (line,) = [
            one for one in page.splitlines()
            if one.startswith(f"| `{name}` |") and f"| {unit.precision} |" in one
        ]  # fmt: skip
        assert line.split("|")[-2].strip() == f"{fitted[unit].in_sample.error:.1%}"
        assert f"**{fitted[unit].held_out.error:.1%}**" in line


@needs_data
def test_families_left_out_are_predicted_better_than_by_either_baseline(rebuilt):
    fitted, _ = rebuilt
    for one in fitted.values():
        assert one.in_sample.error <= one.held_out.error
        assert one.held_out.error < min(baseline.error for baseline in one.baselines)


@needs_data
def test_rk3399_holds_every_measured_operator():
    from device_data import UnitKey, read_operators

    timed = read_operators(DATA)[UnitKey("rk3399", "tvm-autotvm", "", "fp32")]
    path = ROOT / "latency_tables" / "rk3399.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    rows = {row.key: row for row in (parse_row(line, "seconds", "rk3399") for line in lines)}
    assert len(rows) == len(timed)
    for one in timed:
        assert rows[one.keys[0]].seconds == pytest.approx(one.seconds)
        assert rows[one.keys[0]].source == "measured"
