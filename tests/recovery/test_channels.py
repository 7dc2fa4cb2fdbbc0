"""Groups of channels in a network that is trained, and cutting what nobody reads."""

from __future__ import annotations

import copy

import pytest
import torch
from recoverable import batches, pair
from torch import nn

from automl.errors import UsageError
from automl.recovery.channels import checked_share, chosen, find_channels, without_dead


def test_groups_have_their_norms_and_readers() -> None:
    _, student = pair()
    inner, *_ = (
        each for each in find_channels(student, batches()[0][0]) if each.name == "blocks.0.conv1"
    )
    assert [part.name for part in inner.weights] == ["blocks.0.conv1.weight"]
    assert {part.name for part in inner.scales} == {
        "blocks.0.conv1.bias",
        "blocks.0.bn1.weight",
        "blocks.0.bn1.bias",
    }
    assert [(part.name, part.dim) for part in inner.readers] == [("blocks.0.conv2.weight", 1)]


def test_what_is_zeroed_is_cut_out_and_outputs_stay() -> None:
    student, images = pair()[1].requires_grad_(False), batches()[0][0]
    for group in find_channels(student, images):
        group.zero(student, chosen(group.length(student), 0.5))
    expected, before = student(images), copy.deepcopy(student.state_dict())
    smaller, gone, of = without_dead(student, images)
    assert (gone, of) == (12, 24)
    torch.testing.assert_close(smaller(images), expected, rtol=1e-5, atol=1e-5)
    assert all(torch.equal(each, before[name]) for name, each in student.state_dict().items())
    whole, gone, of = without_dead(pair()[1].requires_grad_(False), images)
    assert (gone, of) == (0, 24)
    assert isinstance(whole, nn.Module)


def test_a_gradient_without_some_channels_is_the_same_elsewhere() -> None:
    student, images = pair()[1].requires_grad_(True), batches()[0][0]
    held = torch.tensor([True] + [False] * 7)
    for group in find_channels(student, images):
        for part in group.written:
            whole = torch.randn(student.get_parameter(part.name).shape)
            found = part.without(whole, held)
            rows, before = found.movedim(part.dim, 0), whole.movedim(part.dim, 0)
            assert rows[0].abs().max() == 0
            assert torch.equal(rows[1:], before[1:])


def test_shares_keep_one_channel() -> None:
    lengths = torch.tensor([3.0, 1.0, 2.0])
    assert chosen(lengths, 0.67).tolist() == [False, True, True]
    assert chosen(lengths, 0.99).tolist() == [False, True, True]
    assert chosen(lengths, 0.1).tolist() == [False] * 3
    with pytest.raises(UsageError, match="what is a share between 0 and 1, found 2"):
        checked_share("what", 2)


def test_length_is_the_same_where_readers_make_up_for_filters() -> None:
    """A channel that is written larger and read by as much less does the same as before."""
    model = pair()[1].eval()
    group = next(
        each
        for each in find_channels(model, batches()[0][0])
        if {part.name for part in each.weights} == {"blocks.0.conv1.weight"}
    )
    before, plain = group.length(model), group.folded(model)[0].norm(dim=1)
    factors = torch.linspace(0.2, 5, group.count)
    with torch.no_grad():
        model.get_parameter("blocks.0.bn1.weight").mul_(factors)
        model.get_parameter("blocks.0.bn1.bias").mul_(factors)
        model.get_parameter("blocks.0.conv2.weight").div_(factors[:, None, None])
    after = group.length(model)
    torch.testing.assert_close(after / after.mean(), before / before.mean(), rtol=1e-4, atol=0)
    assert after.argsort().tolist() == before.argsort().tolist()
    assert group.folded(model)[0].norm(dim=1).argsort().tolist() != plain.argsort().tolist()
