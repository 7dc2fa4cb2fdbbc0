"""ONNX Runtime's profiling, made here: an exported network is run and read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from automl.errors import UsageError
from automl.export.onnx import onnx_bytes
from automl.latency.keys import op_key
from automl.network.layers import Network
from automl.network.traced_model import trace_network
from automl.profiling.imports import import_profile


class Small(nn.Module):
    """A stem, a residual block with a depthwise convolution, a strided one, and a classifier.

    24 channels are rounded up to 32 where the runtime's blocks are of 16.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.wide = nn.Sequential(nn.Conv2d(16, 24, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU())
        self.deep = nn.Conv2d(24, 24, 3, padding=1, groups=24)
        self.narrow = nn.Conv2d(24, 16, 1)
        self.down = nn.Conv2d(16, 48, 3, stride=2, padding=1)
        self.fc = nn.Linear(48, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(images))
        x = x + self.narrow(torch.relu(self.deep(self.wide(x))))
        return self.fc(torch.relu(self.down(x)).mean((2, 3)))


SHAPE = (1, 3, 32, 32)
RUNS = 5


def profiled(content: bytes, folder: Path, batch: int = 1) -> Path:
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "ort")
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    for _ in range(RUNS):
        session.run(None, {"input": np.zeros((batch, *SHAPE[1:]), np.float32)})
    return Path(session.end_profiling())


@pytest.fixture(scope="module")
def network() -> Network:
    return trace_network(Small().eval(), SHAPE, resolutions=()).network


@pytest.mark.parametrize("thorough", [False, True], ids=["recorded", "captured"])
def test_a_run_is_matched_to_its_network(thorough: bool, network: Network, tmp_path: Path) -> None:
    """Names survive one exporter and not the other; shapes find the operators all the same."""
    content = onnx_bytes(Small().eval(), SHAPE, thorough=thorough)
    result = import_profile(profiled(content, tmp_path), None, network)
    assert result.runtime == "onnxruntime"
    expected = {op_key(layer) for layer in network.layers}
    found = {row.key for row in result.rows}
    assert found <= expected
    missing = {key.op for key in expected - found}
    assert missing <= {"add"}  # computed within the convolution before it
    assert any(note.startswith("add: computed within") for note in result.notes) == bool(missing)
    assert all(row.runs >= RUNS - 1 for row in result.rows)
    assert {line.reason for line in result.unmatched} <= {
        "layout change",
        "no operator of the network has its name",  # a reshape, which is no priced operator
    }


def test_another_batch_is_refused(network: Network, tmp_path: Path) -> None:
    content = onnx_bytes(Small().eval(), (2, *SHAPE[1:]))
    with pytest.raises(UsageError, match="ran at batch 2; tables hold batch 1"):
        import_profile(profiled(content, tmp_path, 2), None, network)


def test_another_resolution_finds_nothing_but_the_classifier(
    network: Network, tmp_path: Path
) -> None:
    content = onnx_bytes(Small().eval(), (1, 3, 32, 32))
    other = trace_network(Small().eval(), (1, 3, 48, 48), resolutions=()).network
    result = import_profile(profiled(content, tmp_path), None, other)
    assert {row.key.op for row in result.rows} == {"linear"}
    assert result.warnings
