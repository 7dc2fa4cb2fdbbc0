"""One choice a layer, of all forms that are open."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from automl.compression import Compressor, further_parts
from automl.compression.config import CompressionConfig
from automl.compression.kinds.form import FormKind, FormOption
from automl.errors import SpaceError
from automl.network.layers import Layer
from automl.policy import Policy
from automl.space import Space, SpaceSettings, open_space
from automl.testing import KindContract, made_compressor, made_network

CONV = Layer("c", "conv2d", 8, 12, (3, 3), padding=(1, 1), in_size=(16, 16), out_size=(16, 16))


class TestForm(KindContract):
    name = "form"


def forms(**texts: str) -> Policy:
    return Policy(further={"form": texts})


def test_no_form_is_open_unless_it_is_asked_for() -> None:
    network = made_network().network
    assert not open_space(network, SpaceSettings()).of_kind("form")
    some = open_space(network, SpaceSettings(forms=("taps",)))
    found = [some.variables[place] for place in some.of_kind("form")]
    # without padding around it, `last` would read less with fewer taps
    assert [each.name for each in found] == ["stem", "inner"]
    options = (*(FormOption("taps", each) for each in ((1, 1, 1), (1, 3, 1), (3, 1, 1))), None)
    assert {each.options for each in found} == {options}


def test_options_stand_in_the_order_of_what_they_multiply() -> None:
    kind = FormKind()
    network = made_network().network
    for variable in kind.variables(network, SpaceSettings(kinds=("form",))):
        layer = next(each for each in network.layers if each.name == variable.name)
        macs = [sum(part.macs for part in kind.lower(each, layer)) for each in variable.options]
        assert macs == sorted(macs)
        assert len({kind.format(each) for each in variable.options}) == len(variable.options)


def test_many_widths_are_lowered_as_each_alone() -> None:
    """Prices ask for arrays of channels."""
    kind = FormKind()
    dense = Layer("c", "conv2d", 16, 24, (5, 5), (2, 2), (2, 2), in_size=(8, 8), out_size=(4, 4))
    each = Layer("d", "depthwise_conv2d", 16, 16, (5, 5), padding=(2, 2), groups=16)
    read, written = (side.ravel() for side in np.meshgrid(range(1, 17, 3), range(1, 25, 5)))
    for layer in (dense, each):
        for option in kind.forms(layer):
            alone = layer is each
            whole = kind.lower(option, sized(layer, read, read if alone else written))
            for place, (one, other) in enumerate(zip(read, written, strict=True)):
                single = kind.lower(option, sized(layer, int(one), int(one if alone else other)))
                for many, found in zip(whole, single, strict=True):
                    sides = (many.in_channels, many.out_channels, many.groups)
                    here = [np.broadcast_to(side, read.shape)[place] for side in sides]
                    assert here == [found.in_channels, found.out_channels, found.groups]
                    assert (many.op, many.kernel, many.padding) == (
                        found.op,
                        found.kernel,
                        found.padding,
                    )


def sized(layer: Layer, read: int | np.ndarray, written: int | np.ndarray) -> Layer:
    groups = read if layer.groups > 1 else 1
    return Layer(  # type: ignore[arg-type]
        layer.name,
        layer.op,
        read,
        written,
        layer.kernel,
        layer.stride,
        layer.padding,
        layer.dilation,
        groups,
        layer.in_size,
        layer.out_size,
    )


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (
            forms(inner="rank-spatial:37"),
            "form of 'inner' cannot be rank-spatial:37: 37 channels between are more than its 36",
        ),
        (
            forms(inner="tucker:13-2"),
            "'inner' cannot be tucker:13-2: 13 channels between are more than its 12",
        ),
        (
            forms(inner="rank-channel:first-17"),
            "cannot be rank-channel:first-17: 17 channels between are more than its 16",
        ),
        (forms(outer="taps:3x1"), "form of 'outer' cannot be taps:3x1: it has no taps"),
        (forms(outer="separable:1"), "'outer' cannot be separable:1: it has no taps"),
        (forms(last="taps:1x3"), r"'last' .*: 1x3 taps read less than its 3x3: it pads too little"),
        (forms(inner="taps:5x1"), r"5x1 taps are not in the middle of its 3x3"),
        (forms(inner="taps:3x3"), r"3x3 taps are all that it has"),
        (forms(head="rank-spatial:2"), "'head' .*: it has no rows and columns of taps"),
        (forms(innr="taps:3x1"), r"form of 'innr': no such part \(did you mean inner"),
        (forms(inner="tapes:3x1"), r"no form 'tapes' \(did you mean taps"),
        (forms(inner="rank-spatial:0"), "'0' is no number of channels"),
        (forms(inner="rank-channel:2"), "'2' does not say whether the taps are first or last"),
        (forms(inner="taps:wide"), "'wide' is no kernel such as 3x1"),
    ],
)
def test_what_a_layer_cannot_become_is_refused_by_name(policy: Policy, said: str) -> None:
    with pytest.raises(SpaceError, match=said):
        further_parts(made_network().model, policy)


def test_a_layer_that_is_priced_as_what_it_is_not_is_refused() -> None:
    linear = Layer("head", "linear", 8, 4)
    with pytest.raises(SpaceError, match="'head' cannot take taps:3x1: it is a linear"):
        FormKind().lower(FormOption("taps", (3, 1, 1)), linear)
    norm = nn.Sequential(nn.BatchNorm2d(3))
    with pytest.raises(SpaceError, match="form of '0' cannot be taps:3x1: it is a BatchNorm2d"):
        further_parts(norm, Policy(further={"form": {"0": "taps:3x1"}}))


@pytest.fixture(scope="module")
def made() -> Compressor:
    return made_compressor(CompressionConfig())


def test_a_network_that_was_cut_and_formed_runs_as_it_is_priced(made: Compressor) -> None:
    policy = Policy(
        {"inner": 9}, further={"form": {"inner": "rank-spatial:4", "last": "separable:1"}}
    )
    model = made.make(policy)
    first, second = model.get_submodule("inner")
    assert [(each.in_channels, each.out_channels) for each in (first, second)] == [(12, 4), (4, 9)]
    assert (first.kernel_size, second.kernel_size) == ((3, 1), (1, 3))
    assert [type(each) for each in model.get_submodule("last")] == [nn.Conv2d] * 2
    with torch.no_grad():
        found = model(made.images[:])
    assert torch.isfinite(found).all()


def test_ranks_that_a_cut_layer_does_not_have_are_as_it_allows(made: Compressor) -> None:
    model = made.make(Policy({"inner": 2}, further={"form": {"inner": "rank-spatial:16"}}))
    first, second = model.get_submodule("inner")
    assert (first.out_channels, second.out_channels) == (6, 2)


def test_the_refit_is_with_the_form_and_not_before_it(made: Compressor) -> None:
    """Fitted to what its network reads, a formed layer loses less than without data."""
    from automl.testing.networks import loss, made_images

    policy = Policy({"inner": 8}, further={"form": {"inner": "rank-spatial:2", "stem": "taps:3x1"}})
    fresh = made_images(64, seed=7)
    finished, rough = (made.make(policy, finish=each) for each in (True, False))
    assert loss(made, finished, fresh) < loss(made, rough, fresh)


def test_a_space_of_forms_is_told_apart_by_them() -> None:
    network = made_network().network
    some: list[Space] = [
        open_space(network, SpaceSettings(forms=names))
        for names in (("taps",), ("separable",), ("taps", "separable"))
    ]
    assert len({each.digest for each in some}) == 3
