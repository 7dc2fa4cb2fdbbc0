"""Weights as what their form stores, from the file and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from automl.compression import fitted, form_of, kernel_of, set_matrix
from automl.errors import QuantizationError
from automl.export.formed import FormedWeights, Stretch, pack_parts, unpack_parts
from automl.export.packed import SCHEMAS, read_packed, state_dict, write_packed


def formed(text: str = "25-columns") -> tuple[nn.Module, FormedWeights]:
    torch.manual_seed(0)
    module, form = nn.Conv2d(6, 8, 3, bias=False), form_of("row")
    set_matrix(module, fitted(form, form.read(text), module, None))
    kernel = kernel_of(module)
    parts = form.pack(form.read(text), kernel)  # type: ignore[attr-defined]
    return module, FormedWeights("row", text, tuple(kernel.shape), (8, 6, 3, 3), parts)


def test_a_file_gives_back_the_weights(tmp_path: Path) -> None:
    module, stored = formed()
    path = tmp_path / "w"
    write_packed(path, {"weight": stored})
    found = read_packed(path)["weight"]
    assert isinstance(found, FormedWeights)
    assert (found.form, found.parameter, found.shape) == ("row", "25-columns", (8, 6, 3, 3))
    module.load_state_dict(state_dict(read_packed(path)))
    torch.testing.assert_close(module.get_parameter("weight"), stored.values())
    assert torch.equal(found.values(), stored.values())
    data = path.read_bytes()
    assert int.from_bytes(data[8:12], "little") == SCHEMAS[-1]
    header = 16 + int.from_bytes(data[12:16], "little")
    assert len(data) - header == 144 / 8 + 4 * 3 * 36
    write_packed(path, {"weight": stored.values()})
    assert path.read_bytes()[8:12] == b"\1\0\0\0"  # what has no form is as before


def test_parts_of_many_bits_and_floats_follow_each_other() -> None:
    _, stored = formed()
    more = (*stored.parts, replace(stored.parts[0], values=torch.arange(700), bits=10))
    content = pack_parts(more)
    lengths = [Stretch(count=each.values.numel(), bits=each.bits) for each in more]
    assert len(content) == sum(each.size for each in lengths)
    for found, wrote in zip(unpack_parts(lengths, memoryview(content)), more, strict=True):
        assert found.bits == wrote.bits
        assert torch.equal(found.values, wrote.values.to(found.values.dtype))


@pytest.mark.parametrize(
    "change",
    [
        lambda each: replace(each, form="rank-spatial", parameter="2"),
        lambda each: replace(each, form="rows"),
        lambda each: replace(each, parameter="many"),
        lambda each: replace(each, kernel=(1, 8, 6, 3, 2)),
        lambda each: replace(each, parts=each.parts[:1]),
        lambda each: replace(each, shape=(8, 6, 9, 9)),
    ],
)
def test_parts_that_make_no_weights_are_refused(
    change: Callable[[FormedWeights], FormedWeights],
) -> None:
    _, stored = formed()
    with pytest.raises(QuantizationError, match="form '"):
        change(stored).values()
