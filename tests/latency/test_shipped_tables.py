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
    assert 0.01 < header.known_error.relative < 1
    assert "left out" in header.known_error.on
    assert header.known_error.by_precision.keys() == set(header.precisions)
    assert header.known_error.relative == max(header.known_error.by_precision.values())
    assert header.soc
    assert header.conditions
    assert header.runtime != "tensorrt" or header.precisions[0] == "fp16"
    assert header.runtime != "tensorrt" or header.threads is None


def test_the_orin_nano_and_its_super_mode_are_two_devices():
    nano, fast = (LatencyTable.read(ROOT / "latency_tables" / f"jetson-orin-nano{mode}.jsonl")
                  for mode in ("", "-super"))  # fmt: skip
    assert "Super is another" in nano.header.power_mode
    assert "MAXN_SUPER" in fast.header.power_mode
    keys = with_precision(BLOCK, "fp16")
    assert fast.lookup(keys).seconds.sum() < 0.8 * nano.lookup(keys).seconds.sum()


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


def operators() -> list[OpKey]:
    """Layers of many shapes, those of which one limit or the other decides."""
    sizes, widths = (1, 4, 7, 14, 28, 56, 112, 320), (3, 8, 24, 64, 256, 512, 1280)
    keys = []
    for size in sizes:
        maps = {"in_size": (size, size), "out_size": (size, size)}
        for width in widths:
            keys += [
                OpKey("conv2d", width, out, (kernel, kernel), (1, 1), (kernel // 2,) * 2, **maps)
                for out in widths
                for kernel in (1, 3, 5, 7)
            ]
            keys += [
                OpKey("depthwise_conv2d", width, width, (kernel, kernel), (1, 1),
                      (kernel // 2,) * 2, groups=width, **maps)
                for kernel in (3, 5, 7)
            ]  # fmt: skip
            keys += [
                OpKey(op, width, width, detail=detail, **maps)
                for op, detail in (("add", ""), ("mul", ""), ("concat", ""), ("activation", "silu"))
            ]
            keys.append(OpKey("max_pool", width, width, (2, 2), (2, 2), **maps))
    return [*keys, *(OpKey("linear", width, out) for width in widths for out in (10, 1000, 4096))]


def elements(key: OpKey) -> float:
    """What an operator reads and writes at least: its maps and its weights."""
    maps = key.in_channels * np.prod(key.in_size) + key.out_channels * np.prod(key.out_size)
    weighted = key.op in ("conv2d", "depthwise_conv2d", "linear")
    return maps + weighted * key.in_channels // key.groups * key.out_channels * np.prod(key.kernel)


@pytest.mark.parametrize("path", FITTED, ids=lambda path: path.stem)
def test_no_operator_is_above_the_chips_peak_or_bandwidth(path):
    import chips
    from table_specs import RK3399, SPECS

    (spec,) = [one for one in (*SPECS, RK3399) if one.name == path.stem]
    predictor = load_predictor(LatencyTable.read(path).header.coefficients)
    keys = operators()
    macs, moved = (np.array([what(key) for key in keys]) for what in (lambda k: k.macs, elements))
    winograd = np.array([key.op == "conv2d" and key.kernel == (3, 3) for key in keys])
    for unit in spec.units:
        limit = chips.peak(unit)
        seconds, _ = predictor.predict(with_precision(keys, unit.precision))
        arithmetic = macs / seconds / np.where(winograd, chips.WINOGRAD, 1.0) / limit.macs
        assert arithmetic.max() <= 1.0 + 1e-5, keys[int(arithmetic.argmax())]
        traffic = moved * chips.BYTES[unit.precision] / seconds / limit.memory
        assert traffic.max() <= 1.0 + 1e-5, keys[int(traffic.argmax())]


@pytest.mark.parametrize("path", FITTED, ids=lambda path: path.stem)
def test_a_stride_or_a_smaller_kernel_never_costs_more(path):
    header = LatencyTable.read(path).header
    predictor = load_predictor(header.coefficients)
    plain, less = [], []
    for key in operators():
        wide, size = max(key.kernel), key.in_size[0]
        if key.op not in ("conv2d", "depthwise_conv2d") or wide == 1 or size < 4:
            continue
        half = (-(-size // 2),) * 2
        plain.append(key)
        less.append(replace(key, stride=(2, 2), out_size=half))
        if wide > 3:
            plain.append(key)
            less.append(replace(key, kernel=(wide - 2,) * 2, padding=(wide // 2 - 1,) * 2))
    for precision in header.precisions:
        more, _ = predictor.predict(with_precision(plain, precision))
        fewer, _ = predictor.predict(with_precision(less, precision))
        worst = int((fewer / more).argmax())
        assert fewer[worst] <= more[worst] * (1 + 1e-9), (less[worst], precision)


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
    """The tables of Jetsons without tensor cores, fitted again: the others take too long."""
    from build_tables import header
    from fitted_units import fit_group, groups
    from table_specs import SPECS

    fitted, _ = fit_group(groups(DATA)["tensorrt", "cuda"])
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
    assert tables.keys() == {"jetson-nano", "jetson-tx2"}
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
        assert f"| {fitted[unit].stated:.1%} |" in line
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
