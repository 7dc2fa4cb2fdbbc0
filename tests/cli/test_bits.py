"""The command and bits: which flags ask for them, how they are printed, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command import MODEL

from automl import pipeline
from automl.pipeline.requests import ApplyRequest, ApplyResult, Metrics, SearchRequest, SearchResult
from policy_files import policy_file

Automl = Callable[..., tuple[int, str, str]]
SEARCH = ("search", "--target", "cpu", "--budget", "50%")
CYCLES = (
    Metrics(0.9, None, None, None, 1e7, 2e5, predicted_cycles=5.2e6),
    Metrics(0.8, None, None, None, 1e7, 1e5, predicted_cycles=2.6e6),
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the pipeline was asked for, by a search or by `apply`."""
    requests: list[Any] = []

    def search(request: SearchRequest, _: object) -> SearchResult:
        requests.append(request)
        path = Path("runs/x")
        made, found = request.task.model, path / "policy.json"
        return SearchResult(made, *CYCLES, policy_file(), found, path, 4, "it", "inputs")

    def apply(request: ApplyRequest, _: object) -> ApplyResult:
        requests.append(request)
        found = ApplyResult(request.task.model, *CYCLES, "inputs", request.out)
        return replace(
            found,
            export_path=request.export,
            export_error=0.004,
            integers=True,
            packed_path=request.packed,
            packed_bytes=120_000,
        )

    monkeypatch.setattr(pipeline, "search", search)
    monkeypatch.setattr(pipeline, "apply", apply)
    return requests


def test_precisions_are_asked_for_by_flags(automl: Automl, asked: list[Any]) -> None:
    status, out, _ = automl(*SEARCH, *MODEL, "--precisions", "INT8,w2-w4", "--keep-first-last")
    assert status == 0
    assert asked[0].precisions == ("int8", "w2-w4")
    assert asked[0].keep_first_last
    (row,) = [line.split() for line in out.splitlines() if "simulated latency" in line]
    assert row == ["simulated", "latency", "5.20", "Mcycles", "2.60", "Mcycles", "x", "0.500"]


@pytest.mark.parametrize("written", ['"int8,w4"', '["int8", "w4"]'])
def test_precisions_are_asked_for_by_automl_toml(
    automl: Automl, asked: list[Any], written: str
) -> None:
    Path("automl.toml").write_text(f"precisions = {written}\nkeep_first_last = true\n")
    automl(*SEARCH, *MODEL)
    automl(*SEARCH, *MODEL, "--precisions", "auto")
    assert [request.precisions for request in asked] == [("int8", "w4"), ("auto",)]
    assert all(request.keep_first_last for request in asked)


def test_what_the_target_computes_in_is_chosen_from_unless_float_is_asked_for(
    automl: Automl, asked: list[Any]
) -> None:
    automl(*SEARCH, *MODEL)
    automl(*SEARCH, *MODEL, "--precisions", "float")
    assert [request.precisions for request in asked] == [("auto",), ("float",)]
    assert not asked[0].keep_first_last


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*SEARCH, "--precisions", "fp8"), "precision 'fp8' is not understood: write auto, float"),
        ((*SEARCH, "--precisions", "auto,int8"), "auto stands by itself"),
        (("apply", "policy.json", "--huffman"), "and none are written (--packed)"),
    ],
)
def test_what_is_not_understood_ends_with_2(
    automl: Automl, words: tuple[str, ...], said: str
) -> None:
    status, _, err = automl(*words)
    assert status == 2
    assert len(err.splitlines()) == 1
    assert said in err


def test_apply_writes_packed_weights(automl: Automl, asked: list[Any]) -> None:
    words = ("--packed", "w.bin", "--huffman", "--export", "m.onnx")
    status, out, _ = automl("apply", "policy.json", *MODEL, *words)
    assert status == 0
    assert (asked[0].packed, asked[0].huffman) == (Path("w.bin"), True)
    assert "packed weights: w.bin (120 kB, entropy-coded)" in out
    assert "ONNX: m.onnx (mean difference from what was simulated 0.004)" in out


def test_show_lists_bits_compactly(automl: Automl) -> None:
    content = json.loads(Path("policy.json").read_text())
    eight, dense = {"weights": 8, "activations": 8}, {"weights": 32, "activations": 32}
    many = {f"stage.{number}": eight for number in range(9)}
    rest = {"stem": dense, "head": dense, "tail": {"weights": 4, "activations": 32}}
    content["bits"] = {**many, **rest, "block.conv": eight}  # of a block that is left out
    Path("policy.json").write_text(json.dumps(content))
    _, out, _ = automl("show", "policy.json")
    start = out.index("int8 ")
    assert out[start:].splitlines()[:3] == [
        "int8     9 of 12 layers",
        "fp32     stem, head",
        "w4       tail",
    ]
