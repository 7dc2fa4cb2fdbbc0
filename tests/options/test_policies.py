"""Options of making a policy's model."""

from __future__ import annotations

from pathlib import Path

import pytest

from automl.errors import OptionError
from automl.options.declare import options_of
from automl.options.policies import ApplyOptions


def test_paths_are_read_and_nothing_has_to_be_given() -> None:
    assert ApplyOptions(export="a.onnx").export == Path("a.onnx")
    assert ApplyOptions() == ApplyOptions(epochs=0, huffman=False)


def test_only_what_is_written_is_coded() -> None:
    with pytest.raises(OptionError, match="none are written") as raised:
        ApplyOptions(huffman=True)
    assert (raised.value.option, raised.value.options) == ("huffman", ("packed",))
    assert ApplyOptions(huffman=True, packed="w").huffman


def test_a_flag_may_be_called_otherwise() -> None:
    assert {each.name: each.flag for each in options_of(ApplyOptions)}["epochs"] == "--finetune"
