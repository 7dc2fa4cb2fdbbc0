"""`automl apply`, `verify` and `show`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from command import DENSE, MODEL, SMALL, Pipeline

from automl import pipeline
from automl.pipeline.requests import (
    ApplyRequest,
    ApplyResult,
    VerifyRequest,
    VerifyResult,
)
from policy_files import POLICY


def test_apply_makes_the_smaller_model(
    automl: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = ApplyResult(
        model=torch.nn.Identity(),
        dense=DENSE,
        compressed=SMALL,
        scored_on="4 test inputs",
        weights_path=Path("model.pt"),
        export_path=Path("m.onnx"),
        export_error=3e-7,
    )
    fake = Pipeline(answer)
    monkeypatch.setattr(pipeline, "apply", fake)
    words = ("policy.json", *MODEL, "--recover", "kd+hints:2", "--export", "m.onnx", "--seed", "4")
    status, out, _ = automl("apply", *words)
    request = fake.request
    assert isinstance(request, ApplyRequest)
    assert request.policy.policy == POLICY
    assert (request.recover, request.export, request.seed) == ("kd+hints:2", Path("m.onnx"), 4)
    assert status == 0
    assert "ONNX: m.onnx (largest difference from PyTorch 3e-07)" in out
    assert out.splitlines()[-1].startswith(
        "Next: automl verify policy.json --model mine.py:network"
    )
    _, out, _ = automl("apply", *words, "--json")
    assert "model" not in json.loads(out)


def test_a_misspelt_term_is_answered_with_the_nearest(automl: Any, folder: Path) -> None:
    status, _, said = automl("apply", "policy.json", *MODEL, "--recover", "kd+hnts:2")
    assert status == 2
    assert "--recover: no term 'hnts' (did you mean hints?)" in " ".join(said.split())


def test_verify_prints_predicted_beside_measured(
    automl: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Pipeline(VerifyResult(DENSE, SMALL, "this machine"))
    monkeypatch.setattr(pipeline, "verify", fake)
    status, out, _ = automl("verify", "policy.json", *MODEL)
    assert isinstance(fake.request, VerifyRequest)
    assert (status, fake.request.target) == (0, "cpu")
    assert "the prediction is -4.8 % from the measurement" in out
    automl("verify", "policy.json", *MODEL, "--target", "here", "--threads", "2")
    assert (fake.request.target, fake.request.threads) == ("here", 2)
    assert (fake.request.ssh, fake.request.write) == ((), None)
    _, out, _ = automl("verify", "policy.json", *MODEL, "--ssh", "me@board:22", "--write")
    assert (fake.request.ssh, fake.request.write) == (("me@board:22",), Path("policy.json"))
    assert "written to policy.json" in out


def test_show_draws_what_is_kept(automl: Any) -> None:
    status, out, _ = automl("show", "policy.json")
    assert status == 0
    rows = {words[0]: words[1:] for words in map(str.split, out.splitlines()) if words}
    assert rows["stem"] == ["█" * 12 + "░" * 12, "8/16"]
    assert rows["left"] == ["█" * 6 + "░" * 18, "4/16"]
    assert "blocks left out: block" in out
    assert "resolution 16" in out
    assert "predicted: 1.00 ms ±8 % (100 % measured), 5.00 MMACs, 100 kB" in out
    assert max(map(len, out.splitlines()[:-1])) <= 80
    assert out.splitlines()[-1] == (
        "Next: automl apply policy.json --model mine.py:net --data FILE.py:NAME --export model.onnx"
    )


def test_show_marks_groups_of_blocks_that_are_left_out(automl: Any, folder: Path) -> None:
    path = folder / "policy.json"
    content = json.loads(path.read_text())
    content["channels"]["stage.1.conv"] = {"dense": 8, "kept": 8}
    content["removed"] = ["stage.1", "stage.2"]
    path.write_text(json.dumps(content))
    _, out, _ = automl("show", "policy.json")
    lines = [line.split() for line in out.splitlines()]
    assert ["stage.1.conv", "left", "out"] in lines
    assert ["stage.2", "left", "out"] in lines


def test_show_as_json_is_the_file(automl: Any, folder: Path) -> None:
    _, out, _ = automl("show", "policy.json", "--json")
    assert json.loads(out) == json.loads((folder / "policy.json").read_text())
