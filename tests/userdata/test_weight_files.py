"""Files of weights: read without running them, or refused with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from users_file import small

from automl.errors import ModelError
from automl.userdata.models import load_model
from automl.userdata.weight_files import read_weights


def test_what_torch_saved_is_read(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2), "epoch": 3}, tmp_path / "w.pt")
    found = read_weights(tmp_path / "w.pt")
    assert found["epoch"] == 3
    assert torch.equal(found["a"], torch.ones(2))


def test_a_file_that_is_given_for_a_model_says_what_to_do(tmp_path: Path) -> None:
    torch.save(small().state_dict(), tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"w.pt holds weights without the model.*file.py:name"):
        load_model(str(tmp_path / "w.pt"))
    torch.save(small(), tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"w.pth cannot be read.*a model is named by its code"):
        load_model(str(tmp_path / "w.pth"))
