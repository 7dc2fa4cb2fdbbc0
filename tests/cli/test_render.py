"""What is printed: JSON, tables within 80 columns, figures that are known."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from command import DENSE, SMALL

from automl.cli import render
from automl.cli.render import print_policy
from automl.pipeline import Metrics
from automl.policy.policy import Bits, Policy
from policy_files import policy_file


@dataclass(frozen=True)
class Figure:
    model: object
    seconds: float
    names: tuple[str, ...]
    kinds: frozenset[str]
    path: Path


def test_json_holds_plain_values_and_null_for_what_is_not_known(
    capsys: pytest.CaptureFixture[str],
) -> None:
    figure = Figure(object(), float("nan"), ("a", "b"), frozenset({"y", "x"}), Path("here"))
    render.print_json({"one": figure, 2: float("inf")})
    assert json.loads(capsys.readouterr().out) == {
        "one": {"seconds": None, "names": ["a", "b"], "kinds": ["x", "y"], "path": "here"},
        "2": None,
    }


def printed(dense: Metrics, small: Metrics, score: str, capsys: pytest.CaptureFixture[str]) -> str:
    render.print_metrics(dense, small, score)
    return capsys.readouterr().out


def test_psnr_is_told_in_decibels(capsys: pytest.CaptureFixture[str]) -> None:
    dense, small = replace(DENSE, score=29.876), replace(SMALL, score=29.774)
    line = next(one for one in printed(dense, small, "psnr", capsys).splitlines() if "PSNR" in one)
    assert line.split() == ["PSNR", "29.88", "dB", "29.77", "dB", "-0.10", "dB"]


def test_accuracy_is_told_in_points_and_costs_in_shares(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(DENSE, SMALL, "top-1 accuracy", capsys)
    assert "-1.50 points" in out
    assert "x 0.500" in out
    assert "1.00 ms ±8 %" in out
    assert max(map(len, out.splitlines())) <= render.WIDTH


def test_a_latency_without_some_operator_is_told_as_a_bound(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bound = replace(SMALL, at_least=True)
    out = printed(replace(DENSE, at_least=True), bound, "top-1 accuracy", capsys)
    assert "at least 2.00 ms" in out
    assert "at least 1.00 ms" in out
    assert max(map(len, out.splitlines())) <= render.WIDTH
    assert render.latency_text(0.5, None, True) == "at least 500 ms"
    assert render.latency_text(None, 2e6, True) == "at least 2.00 Mcycles"
    assert render.to_json(bound)["at_least"] is True
    file = policy_file(Policy())
    print_policy(
        file.model_copy(update={"predicted": file.predicted.model_copy(update={"at_least": True})})
    )
    assert "predicted: at least 1.00 ms" in capsys.readouterr().out


def test_another_score_is_told_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(DENSE, SMALL, "mine.py:score", capsys)
    assert "points" not in out
    assert "-0.015" in out


def test_rows_of_what_is_not_known_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    unknown = replace(DENSE, measured_seconds=None, predicted_seconds=float("nan"))
    out = printed(unknown, SMALL, "top-1 accuracy", capsys)
    assert "latency" not in out
    assert "work" in out


def test_a_table_folds_what_is_too_wide(capsys: pytest.CaptureFixture[str]) -> None:
    render.print_table(("name", "what"), [("short", "word " * 40)], left=2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 4
    assert max(map(len, lines)) <= render.WIDTH


@pytest.mark.parametrize(
    ("names", "figures"),
    [
        (["resnet-" + "with-a-long-name-" * 5], ["0.9123*", "12.3 ms", "13.1 ms", "12345.6 s"]),
        (
            ["60% and 80%size and 40%macs", "optuna-cmaes"],
            ["123456", "0.9123*", "12.3 ms", "13.1 ms", "12345.6 s"],
        ),
    ],
)
def test_a_table_folds_names_before_figures(
    names: list[str], figures: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    header = [*("name" for _ in names), *("predicted" for _ in figures)]
    render.print_table(header, [[*names, *figures]] * 2, left=len(names))
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert max(map(len, lines)) <= render.WIDTH
    assert all(out.count(figure) == 2 for figure in figures)
    firsts = "".join(line[1:33].split("   ")[0].strip() for line in lines[3:])
    assert names[0].replace(" ", "") in firsts.replace(" ", "")


def test_figures_that_are_too_wide_themselves_are_folded(
    capsys: pytest.CaptureFixture[str],
) -> None:
    figures = [f"{number}" * 20 for number in range(5)]
    render.print_table(["name", *figures], [["a", *figures]])
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= render.WIDTH
    assert all(out.count(figure[0]) == 40 for figure in figures)


def test_the_error_of_a_prediction_is_told_with_its_sign(
    capsys: pytest.CaptureFixture[str],
) -> None:
    render.print_prediction_error(replace(SMALL, predicted_seconds=1.1e-3, measured_seconds=1e-3))
    assert capsys.readouterr().out == "the prediction is +10.0 % from the measurement\n"
    render.print_prediction_error(replace(SMALL, measured_seconds=None))
    assert capsys.readouterr().out == ""


def test_a_policy_s_further_choices_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    policy = Policy(
        bits={"mix": Bits(8, 8)}, further={"taper": {"stem": "rank 4", "free": "dense"}}
    )
    print_policy(policy_file(policy))
    said = capsys.readouterr().out.splitlines()
    assert {"int8     mix", "rank 4   stem", "dense    free"} <= set(said)


def test_what_is_not_merged_is_not_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """As blocks that stay are not."""
    merges = dict.fromkeys(("stem", "inner", "block.one"), "merged") | {"mix": "dense"}
    policy = Policy(removed=frozenset({"block"}), further={"merge": merges})
    print_policy(policy_file(policy))
    said = capsys.readouterr().out.splitlines()
    assert "merged   stem, inner" in said
    assert not any("dense" in line or "mix" in line for line in said)
    units = {"stem": "fire", "mix": "dense"}
    print_policy(policy_file(Policy(further={"alternative": units})))
    said = capsys.readouterr().out.splitlines()
    assert "fire     stem" in said
    assert not any("dense" in line or "mix" in line for line in said)
    print_policy(policy_file(Policy(further={"merge": {"stem": "dense"}})))
    assert "stem" not in capsys.readouterr().out
