"""Weights in files: one clear line for each thing that does not fit."""

from __future__ import annotations

import os
import re
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from users_file import small

from automl.errors import ModelError
from automl.userdata.weights import load_weights


@pytest.mark.parametrize("scheme", ["plain", "state_dict", "model", "parallel", "compiled"])
def test_weights_in_the_forms_that_people_keep(tmp_path: Path, scheme: str) -> None:
    trained, model = small(), small()
    state: dict[str, Any] = trained.state_dict()
    if scheme == "parallel":
        state = {f"module.{key}": value for key, value in state.items()}
    if scheme == "compiled":
        state = {f"_orig_mod.{key}": value for key, value in state.items()}
    torch.save({scheme: state} if scheme in ("state_dict", "model") else state, tmp_path / "w.pt")
    load_weights(model, tmp_path / "w.pt")
    assert all(map(torch.equal, model.state_dict().values(), trained.state_dict().values()))


def test_weights_that_do_not_fit_name_the_first_keys(tmp_path: Path) -> None:
    state = small().state_dict()
    state["1.weight"] = torch.zeros(5, 12)
    del state["2.bias"]
    state["head.bias"] = torch.zeros(2)
    torch.save(state, tmp_path / "w.pt")
    message = (
        "missing 2.bias; unexpected head.bias; "
        "wrong shape: 1.weight is (5, 12), the model has (4, 12)"
    )
    with pytest.raises(ModelError, match=re.escape(message)):
        load_weights(small(), tmp_path / "w.pt")


def test_many_keys_that_do_not_fit_are_counted(tmp_path: Path) -> None:
    torch.save({f"old.{i}": torch.zeros(1) for i in range(9)}, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"unexpected old.0, old.1, old.2 and 6 more"):
        load_weights(small(), tmp_path / "w.pt")


def test_weights_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    with pytest.raises(ModelError, match="there is no weights file"):
        load_weights(small(), path)
    torch.save(small().state_dict(), path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ModelError, match=r"w.pt cannot be read: File is not a zip file"):
        load_weights(small(), path)
    torch.save([1, 2], path)
    with pytest.raises(ModelError, match="holds a list, expected a state dict"):
        load_weights(small(), path)


def test_a_pickled_model_is_not_read(tmp_path: Path) -> None:
    torch.save(small(), tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"objects of torch.nn.*torch.save\(model.state_dict"):
        load_weights(small(), tmp_path / "w.pt")


def kept(folder: Path, content: Any) -> Path:
    torch.save(content, folder / "w.pt")
    return folder / "w.pt"


def fits(path: Path, trained: nn.Module) -> bool:
    model = small()
    load_weights(model, path)
    return all(map(torch.equal, model.state_dict().values(), trained.state_dict().values()))


def test_weights_are_found_where_training_scripts_keep_them(tmp_path: Path) -> None:
    trained = small()
    state = dict(trained.state_dict())
    moments = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1}]}
    for held in (
        {"model": {"state_dict": state}, "epoch": 3, "loss": torch.tensor(0.5)},
        {"optimizer": moments, "model_state_dict": state},
        {"model": {"net": {f"module.{key}": value for key, value in state.items()}}},
        {"weights of the encoder": state, "version": 2},
        {f"backbone.{key}": value for key, value in state.items()},
        {**state, "epoch": 3, "classes": ["a", "b"], "0._extra_state": None},
        {key: value.double() for key, value in state.items()},
    ):
        assert fits(kept(tmp_path, held), trained)


def test_safetensors_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file = pytest.importorskip("safetensors.torch").save_file
    trained = small()
    for name in ("w.safetensors", "w.bin"):
        save_file(trained.state_dict(), tmp_path / name)
        assert fits(tmp_path / name, trained)
    content = (tmp_path / "w.bin").read_bytes()
    (tmp_path / "w.bin").write_bytes(content[:-3])
    with pytest.raises(ModelError, match=r"w.bin cannot be read as safetensors: "):
        load_weights(small(), tmp_path / "w.bin")
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(
        ModelError, match=r"not installed: pip install 'automl-latency\[safetensors\]'"
    ):
        load_weights(small(), tmp_path / "w.safetensors")


class Evil:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def itself() -> dict[str, Any]:
    held: dict[str, Any] = {}
    held["model"] = held
    return held


def quiet(make: Callable[[], torch.Tensor]) -> torch.Tensor:
    """A tensor of a kind that torch warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"1.weight": torch.eye(4, 12).to_sparse()}, r"1.weight is sparse.*\.to_dense\(\)"),
        (
            {"1.weight": quiet(lambda: torch.eye(4, 12).to_sparse_csr())},
            r"1.weight is sparse.*\.to_dense\(\)",
        ),
        ({"1.weight": torch.empty(4, 12, device="meta")}, "1.weight is on the meta device"),
        (
            {
                "1.weight": quiet(
                    lambda: torch.quantize_per_tensor(torch.ones(4, 12), 0.1, 0, torch.qint8)
                )
            },
            r"1.weight is quantised \(qint8\): give the weights of floats",
        ),
        ({"1.bias": torch.ones(4, dtype=torch.complex64)}, "1.bias is complex64.*is float32"),
        ({"1.bias": torch.ones(4, dtype=torch.int8)}, "1.bias is int8, .*weights of floats"),
        ({"1.bias": [0.5, 0.5]}, r"1.bias is a list, expected a tensor.*state_dict\(\)"),
        ({"module.1.bias": torch.ones(4)}, "'1.bias' twice, with a wrapper's prefix and without"),
        ({"x\x1b[2J\n" * 300: torch.ones(4)}, r"unexpected x\\x1b\[2J\\n"),
    ],
    ids=["sparse", "csr", "meta", "quantised", "complex", "integer", "list", "twice", "name"],
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_that_are_no_weights_say_what_to_do(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    path = kept(tmp_path, dict(small().state_dict()) | changed)
    with pytest.raises(ModelError, match=message) as raised:
        load_weights(small(), path)
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda path: torch.save(small(), path), "it holds objects of torch.nn.modules"),
        (lambda path: torch.save({"a": Evil(path.with_name("run"))}, path), "to read these is to"),
        (lambda path: torch.jit.script(small()).save(path), "is a TorchScript file: .*state_dict"),
        (lambda path: torch.save({"a": {"w": torch.ones(1)}, "b": {"w": torch.ones(1)}}, path),
         "holds several state dicts, 'a' and 'b'"),
        (lambda path: torch.save(itself(), path), "holds a dict without tensors in it"),
        (lambda path: torch.save({"epoch": 3}, path), r"without tensors in it \('epoch'\)"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(b"<!DOCTYPE html>"), "is a web page"),
        (lambda path: path.write_bytes(b"automlwt" * 9), "is a packed weight file"),
        (lambda path: path.write_bytes(b"ctoa" + b".a" * 20_000 + b"\nx\n."), "it names 'toa.a"),
        (lambda path: path.write_bytes(b"garbage" * 9), "torch.save did not write it so"),
        (lambda path: np.savez(path.open("wb"), x=np.ones(3)), "holds arrays of NumPy"),
        (lambda path: path.mkdir(), "it is a folder, not a file"),
        (lambda path: os.mkfifo(path), "it is a pipe or a device, not a file"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_files_that_hold_something_else_say_what_to_do(
    tmp_path: Path, made: Callable[[Path], object], message: str
) -> None:
    path = tmp_path / "w.pt"
    made(path)
    with pytest.raises(ModelError, match=message) as raised:
        load_weights(small(), path)
    assert str(raised.value).isprintable()
    assert not (tmp_path / "run").exists()


def test_an_archive_that_unpacks_to_far_more_is_not_read(tmp_path: Path) -> None:
    path = kept(tmp_path, small().state_dict())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/data/99", bytes(100_000_000))
    with pytest.raises(ModelError, match="far more than data do"):
        load_weights(small(), path)
