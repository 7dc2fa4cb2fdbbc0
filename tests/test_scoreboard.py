"""The scoreboard: what a row is judged by, what is run again, and the page."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import scoreboard
import torch
from scored import USUAL, Bench, Check, Figures, Row
from torch import nn

from automl.compression import Compressor
from automl.methods import REGISTRIES, registry
from automl.network import trace_network


def counted(seen: list[tuple[str, int]]) -> Row:
    """A row that says what it was run on."""

    def run(bench: Bench) -> Figures:
        seen.append((bench.network, bench.seed))
        return {"error": 0.1 * bench.seed}

    return Row("toy", "forms/tucker", "small", run, (Check("error", at_most=0.15),))


ASKED = argparse.Namespace(again=False, seeds=None)


def test_each_row_names_a_method_and_is_judged_by_figures() -> None:
    rows = [row for found in scoreboard.families().values() for row in found]
    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        kind, _, name = row.method.partition("/")
        assert kind in REGISTRIES, row.name
        assert name in registry(kind).ours, row.name
        assert row.checks, row.name


def test_limits_hold_both_ways_and_a_missing_figure_fails() -> None:
    check = Check("gain", at_least=1.0, at_most=3.0)
    assert [check.holds({"gain": gain}) for gain in (0.9, 1.0, 3.0, 3.1)] == [0, 1, 1, 0]
    assert not check.holds({"error": 2.0})


def test_what_was_run_is_not_run_again(tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []
    row, few = counted(seen), argparse.Namespace(again=False, seeds=[1])
    scoreboard.run("scoreboard_toy", [row], few, tmp_path)
    scoreboard.run("scoreboard_toy", [row], ASKED, tmp_path)
    assert seen == [("resnet20", 1), ("resnet20", 0), ("resnet20", 2)]
    again = argparse.Namespace(again=True, seeds=[1])
    scoreboard.run("scoreboard_toy", [row], again, tmp_path)
    assert seen[3:] == [("resnet20", 1)]
    assert len(scoreboard.results_of(tmp_path)) == 3


@pytest.mark.parametrize(("values", "verdict"), [((0.1, 0.15), "pass"), ((0.1, 0.4), "**fail**")])
def test_the_page_judges_the_mean_over_seeds(
    tmp_path: Path, values: tuple[float, float], verdict: str
) -> None:
    lines = [
        {"row": "toy", "network": "resnet20", "seed": seed, "figures": {"error": value}}
        for seed, value in enumerate(values)
    ]
    text = "".join(json.dumps({**line, "cpu_seconds": 1.0}) + "\n" for line in lines)
    (tmp_path / "scoreboard_toy.jsonl").write_text(text)
    (line,) = list(scoreboard.page([counted([])], scoreboard.results_of(tmp_path)))[-1:]
    assert line.endswith(f"| error {sum(values) / 2:.4g} | 0, 1 | 1 | {verdict} |")
    (line,) = list(scoreboard.page([counted([])], {}))[-1:]
    assert line.endswith("| not run |")


def test_the_page_is_what_the_results_say() -> None:
    rows = [row for found in scoreboard.families().values() for row in found]
    made = "\n".join(scoreboard.page(rows, scoreboard.results_of(scoreboard.RESULTS))) + "\n"
    assert scoreboard.PAGE.read_text(encoding="utf-8") == made


def test_errors_are_those_from_the_dense_network_whatever_was_asked_first() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3, padding=1))
    bench = Bench("none", 0)
    traced, images = trace_network(model, (1, 3, 8, 8), resolutions=()), torch.randn(40, 3, 8, 8)
    made = {
        "traced": traced,
        "held_out": images,
        "compressor": Compressor(traced, images, {}, config=USUAL, scheme="qdq-u8s8"),
    }
    bench.__dict__.update(made)  # in place of what is loaded when it is first asked for
    errors = []
    for _ in range(2):
        with bench.formed("2", "taps:1x1") as changed:
            errors.append(bench.error(changed))
    assert errors[0] == errors[1] > 0.01
    assert bench.error(traced.model) == 0.0
