"""Searches over bits: what they choose, deliver and refuse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import request, task, write_simulator, write_table

from automl.compression.quantization.simulation import QuantizedModel
from automl.errors import PolicyError, TableError, UsageError
from automl.export.packed import read_packed, state_dict
from automl.pipeline import apply, search, verify
from automl.pipeline.requests import ApplyRequest, SearchResult, VerifyRequest
from automl.policy.file import PolicyFile, Precision, read_policy
from automl.policy.policy import Bits
from automl.policy.sizes import packed_bytes

LAYERS = ("stem", "block.inner", "block.outer", "head")


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AUTOML_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("tables") / "board.jsonl", "fp32", "int8")


@pytest.fixture(scope="module")
def found(board: Path, tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    """Half the time with integers twice as fast: most layers have to be integers."""
    out = tmp_path_factory.mktemp("run")
    return search(request(board, out, "55%", precisions=("auto",), depth=False, round_to=16))


def test_the_policy_names_bits_of_every_layer(found: SearchResult) -> None:
    policy = read_policy(found.policy_path).policy
    assert tuple(policy.bits) == LAYERS
    assert {Bits(8, 8)} <= set(policy.bits.values()) <= {Bits(8, 8), Bits()}
    assert found.policy.target.scheme == "qdq-u8s8"
    assert "fp32 and int8" in found.target or "int8 and fp32" in found.target
    predicted = found.policy.predicted.latency_seconds
    assert predicted is not None
    assert predicted <= 0.55 * (found.policy.dense.latency_seconds or 0.0)


def test_weights_are_delivered_plain_and_packed_at_the_promised_size(found: SearchResult) -> None:
    plain = torch.load(found.out / "model.pt", weights_only=True)
    packed = found.out / "model.weights"
    restored = state_dict(read_packed(packed))
    assert plain.keys() == restored.keys()
    assert all(torch.equal(plain[name], value) for name, value in restored.items())
    promised = found.policy.predicted.bytes
    assert promised < 0.5 * found.policy.dense.bytes
    assert promised <= packed.stat().st_size <= promised + 1000  # its header
    assert (found.out / "model.onnx").exists()


def test_a_policy_with_bits_is_made_again_as_it_was(found: SearchResult, tmp_path: Path) -> None:
    packed = tmp_path / "weights.bin"
    again = apply(
        ApplyRequest(
            task(),
            found.policy,
            tmp_path / "model.pt",
            tmp_path / "model.onnx",
            packed,
            huffman=True,
        )
    )
    assert isinstance(again.model, QuantizedModel)
    assert again.integers
    assert again.compressed.score == pytest.approx(found.compressed.score)
    before = torch.load(found.out / "model.pt", weights_only=True)
    after = torch.load(tmp_path / "model.pt", weights_only=True)
    assert all(torch.equal(before[name], value) for name, value in after.items())
    assert again.packed_bytes == packed.stat().st_size
    assert state_dict(read_packed(packed)).keys() == after.keys()


def test_weights_alone_for_a_size(board: Path, tmp_path: Path) -> None:
    asked = request(board, tmp_path / "run", "30%size", precisions=("w2-w4",), round_to=16)
    result = search(asked)
    bits = read_policy(result.policy_path).policy.bits
    assert {each.activations for each in bits.values()} == {32}
    assert result.compressed.bytes <= 0.3 * result.dense.bytes
    assert result.compressed.bytes >= packed_bytes(1, 0, 0, Bits(2, 32))


def test_a_simulator_is_searched_in_cycles(tmp_path: Path) -> None:
    table = write_simulator(tmp_path / "simulated.jsonl")
    options: dict[str, Any] = {"precisions": ("auto",), "resolutions": None, "round_to": None}
    result = search(request(table, tmp_path / "run", "50%", **options))
    policy, dense = read_policy(result.policy_path), result.dense
    assert not policy.channels  # it knows no other counts
    assert result.target == "Chip, simulator w2a2, w4a4 and w8a8 (simulated)"
    assert result.compressed.predicted_seconds is None
    assert dense.predicted_cycles is not None
    assert result.compressed.predicted_cycles == policy.predicted.latency_cycles
    assert (policy.predicted.latency_cycles or 0.0) <= 0.5 * dense.predicted_cycles
    assert policy.target.scheme is None
    assert any("cycles are simulated" in note for note in result.notes)
    with pytest.raises(UsageError, match="cycles and no time: write 5Mcycles or 50%"):
        search(request(table, tmp_path / "a", "1ms", **options))
    with pytest.raises(TableError, match=r"cannot price .* it simulates other networks"):
        search(request(table, tmp_path / "b", "50%", **options | {"round_to": 4}))


def test_ends_that_are_held_are_named(board: Path, tmp_path: Path) -> None:
    asked = request(
        board, tmp_path / "run", "80%", precisions=("int8",), keep_first_last=True, depth=False
    )
    result = search(asked)
    bits = read_policy(result.policy_path).policy.bits
    assert bits["stem"] == bits["head"] == Bits(8, 8)
    easy = search(
        request(board, tmp_path / "easy", "100%", precisions=("int8",), keep_first_last=True)
    )
    assert any("meets this budget already" in note for note in easy.notes)
    assert not easy.policy.bits
    assert easy.compressed.predicted_seconds == easy.dense.predicted_seconds


def test_what_the_target_lacks_is_refused_in_one_line(board: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no precision w4a4: .* has fp32 and int8"):
        search(request(board, tmp_path / "a", "60%", precisions=("w4a4",)))
    with pytest.raises(UsageError, match="saves size and not time"):
        search(request(board, tmp_path / "b", "60%", precisions=("w4",)))


def test_a_policy_is_held_against_what_the_target_and_the_model_have(
    found: SearchResult, tmp_path: Path
) -> None:
    plain = write_table(tmp_path / "plain.jsonl")
    with pytest.raises(PolicyError, match=r"the policy gives .* int8: .* has fp32"):
        verify(VerifyRequest(task(), found.policy, str(plain)))
    with pytest.raises(PolicyError, match=r"the model has no layer .*'stemm' .did you mean stem"):
        verify(VerifyRequest(task(), named(found.policy, "stemm"), str(plain)))


def named(file: PolicyFile, layer: str) -> PolicyFile:
    return file.model_copy(update={"bits": {layer: Precision(weights=8, activations=8)}})


def test_weights_that_are_rounded_alone_are_trained_by_what_fits_them(
    found: SearchResult, tmp_path: Path
) -> None:
    alone = {"head": Precision(weights=2)}
    file = found.policy.model_copy(update={"bits": alone})
    for quantizer in ("lsq", "ttq:threshold=0.1", "ternary"):
        out = tmp_path / "tuned.pt"
        packed = tmp_path / "tuned.bin"
        asked = ApplyRequest(task(), file, out, packed=packed, recover="kd:1", quantizer=quantizer)
        result = apply(asked)
        weights = torch.load(out, weights_only=True)["head.weight"]
        assert all(len(row.unique()) <= 4 for row in weights)
        assert torch.equal(state_dict(read_packed(packed))["head.weight"], weights)
        assert any(note.startswith("recovery") for note in result.notes)


def test_a_quantizer_that_fits_no_layer_is_refused_and_nothing_is_made(
    found: SearchResult, tmp_path: Path
) -> None:
    stages: list[str] = []
    asked = ApplyRequest(task(), found.policy, tmp_path / "t.pt", recover="1", quantizer="ttq")
    with pytest.raises(UsageError, match=r"three values .* w2, and the layers have int8"):
        apply(asked, lambda event: stages.append(event.stage))
    floats = found.policy.model_copy(update={"bits": {}})
    with pytest.raises(UsageError, match="quantizer: the policy rounds no layer"):
        apply(replace(asked, policy=floats))
    assert not stages


@pytest.mark.parametrize("recover", ["kd:2", "auto:1s"])
def test_integers_are_trained_and_exported(
    found: SearchResult, tmp_path: Path, recover: str
) -> None:
    asked = ApplyRequest(
        task(), found.policy, tmp_path / "tuned.pt", tmp_path / "tuned.onnx", recover=recover
    )
    result = apply(asked)
    assert result.integers
    assert result.export_path is not None
    assert result.export_path.is_file()
    assert isinstance(result.model, QuantizedModel)
    assert any(note.startswith("recovery") for note in result.notes)


@pytest.mark.parametrize(("form", "values"), [("clustered:40-2", 5), ("pow2:3", 5)])
def test_forms_of_few_numbers_are_trained_and_stored_so(
    found: SearchResult, tmp_path: Path, form: str, values: int
) -> None:
    file = found.policy.model_copy(update={"bits": {}, "further": {"form": {"head": form}}})
    out, packed = tmp_path / "tuned.pt", tmp_path / "tuned.bin"
    result = apply(ApplyRequest(task(), file, out, packed=packed, recover="kd+hints:2"))
    weights = torch.load(out, weights_only=True)["head.weight"]
    assert len(weights.unique()) <= values
    assert torch.equal(state_dict(read_packed(packed))["head.weight"], weights)
    assert any(note.startswith("recovery") for note in result.notes)
    both = file.model_copy(update={"bits": {"stem": Precision(weights=8, activations=8)}})
    with pytest.raises(UsageError, match="bits and forms of few numbers is not trained"):
        apply(ApplyRequest(task(), both, out, recover="1"))


def test_integers_are_compared_inside(found: SearchResult, tmp_path: Path) -> None:
    asked = ApplyRequest(task(), found.policy, tmp_path / "tuned.pt", recover="kd+hints:1")
    assert any(note.startswith("recovery by kd+hints") for note in apply(asked).notes)
