"""Files of phones' runtimes: without their packages it is said what to install."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

from automl.errors import ModelError, UsageError
from automl.export.runtime_files import export_executorch, export_litert, refuse_integers
from automl.network.traced_model import trace_network
from quantised import Net, all_layers, quantised

SHAPE = (1, 3, 16, 16)
WRITERS = {"executorch": export_executorch, "litert_torch": export_litert}


@pytest.mark.parametrize("package", [*WRITERS])
def test_a_package_that_lacks_is_named(package: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    path = tmp_path / "model.file"
    with pytest.raises(UsageError, match=rf"^{package}.* pip install 'automl-latency\["):
        WRITERS[package](nn.Conv2d(3, 4, 3).eval(), SHAPE, path)
    assert not path.exists()


@pytest.mark.parametrize("package", [*WRITERS])
def test_a_file_computes_what_the_network_does(package: str, tmp_path: Path) -> None:
    pytest.importorskip(package)
    torch.manual_seed(0)
    path = tmp_path / ("model.pte" if package == "executorch" else "model.tflite")
    assert WRITERS[package](Net().eval(), SHAPE, path) < 1e-4
    assert path.stat().st_size > 1000


def test_a_network_of_integers_is_refused() -> None:
    traced = trace_network(Net().eval(), SHAPE, resolutions=())
    refuse_integers(traced.model, "a file")
    with pytest.raises(ModelError, match="computes in integers"):
        refuse_integers(quantised(traced, all_layers(traced), "qdq-u8s8"), "a file")
