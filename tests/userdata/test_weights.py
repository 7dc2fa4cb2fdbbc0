"""Weights in files: one clear line for each thing that does not fit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
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
    with pytest.raises(ModelError, match=r"w.pt cannot be read as a state dict: RuntimeError"):
        load_weights(small(), path)
    torch.save([1, 2], path)
    with pytest.raises(ModelError, match="holds a list, expected a state dict"):
        load_weights(small(), path)


def test_a_pickled_model_is_not_read(tmp_path: Path) -> None:
    torch.save(small(), tmp_path / "w.pt")
    with pytest.raises(ModelError, match="cannot be read as a state dict: UnpicklingError"):
        load_weights(small(), tmp_path / "w.pt")
