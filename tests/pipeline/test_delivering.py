"""A policy's network becomes the file that its ending says."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch

from automl.errors import UsageError
from automl.network.traced_model import trace_network
from automl.pipeline.delivering import check_format, described, export_as
from automl.policy.policy import Bits, Policy
from policy_files import policy_file


def test_integers_are_for_onnx_alone() -> None:
    traced = trace_network(tiny.model(), tiny.SHAPE, resolutions=())
    rounded = Policy(bits={"block.inner": Bits(8, 8)})
    check_format(None, rounded, traced)
    check_format(Path("m.onnx"), rounded, traced)
    check_format(Path("m.py"), Policy(bits={"block.inner": Bits(4, 32)}), traced)
    with pytest.raises(UsageError, match=r"computes block\.inner in integers: write \.onnx"):
        check_format(Path("m.pte"), rounded, traced)


@pytest.mark.parametrize("name", ["m.onnx", "m.py"])
def test_the_ending_says_what_is_written(name: str, tmp_path: Path) -> None:
    inputs = torch.randn(4, *tiny.SHAPE[1:])
    path = tmp_path / name
    what = described(policy_file())
    assert export_as(path, tiny.model(), tiny.SHAPE, inputs, half=False, what=what) < 1e-4
    if name.endswith(".py"):
        assert path.read_text().startswith(f'"""{what}\n')
        assert (
            torch.load(tmp_path / "m.pt", weights_only=True).keys()
            == tiny.model().state_dict().keys()
        )
