"""The sensitivity of bits, alone and together with channels, is what it says."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pytest
import torch
from compressed import compressor, images_for, outputs_of, read, same, state
from small import MAP, ODD, seeded
from torch import Tensor, nn

from automl.compression.compressor import Compressor
from automl.compression.database import write_patch
from automl.compression.moments import Moments, StreamedMoments
from automl.compression.quantization.simulation import QuantizedModel
from automl.compression.sensitivity import measure_sensitivity
from automl.errors import QuantizationError, SpaceError
from automl.network.memory_format import laid_out
from automl.network.traced_model import trace_network
from automl.policy.policy import Bits, Policy
from automl.space import Sensitivity, Space, Variable, build_space

GRID = tuple(Bits(w, a) for w in range(2, 9) for a in range(2, 9))
INT8 = (Bits(8, 8), Bits())


def relative(found: Tensor, dense: Tensor) -> float:
    return float((found - dense).square().mean() / dense.var(0).mean())


def alone(made: Compressor, layer: str, bits: Bits, images: Tensor) -> float:
    """The sensitivity of a layer's bits, its candidate put together by hand."""
    joint, model = made.joint, made.traced.model
    plan = joint.dense_plan({layer: bits})
    qparams = joint.dense_qparams([plan])
    dense = outputs_of(model, images)
    module = model.get_submodule(layer)
    before = module.weight.clone(), module.bias.clone()  # type: ignore[operator]
    found = joint.rounded(layer, Policy(), bits)
    write_patch(module, (found.values, found.bias))
    changed = outputs_of(QuantizedModel(model, plan, qparams, {}), images)
    module.load_state_dict({"weight": before[0], "bias": before[1]})
    return relative(changed, dense)


def only_bits(space: Space) -> Space:
    return Space(tuple(each for each in space.variables if each.kind == "bits"))


@pytest.mark.parametrize("scheme", [None, "qdq-u8s8"])
@pytest.mark.parametrize("name", ["residual", "inverted"])
def test_harm_of_bits_is_that_of_one_layer_rounded(name: str, scheme: str | None) -> None:
    traced = read(name)
    made = Compressor(traced, images_for(traced.network.input_shape, 12), {}, scheme=scheme)
    options = (Bits(3, 32), Bits(8, 8), Bits())
    space = Space(tuple(Variable("bits", layer, options) for layer in made.joint.flow.layers[:3]))
    images, before = laid_out(traced.model, made.images[:5]), state(traced.model)
    found = measure_sensitivity(made.database, space, images, rounded=made.joint)
    for variable, row in zip(space.variables, found.single, strict=True):
        assert row[-1] == 0.0
        for index, bits in enumerate(options[:-1]):
            expected = alone(made, variable.name, bits, images)
            assert row[index] == pytest.approx(expected, rel=1e-3, abs=1e-9)
    assert same(before, traced.model)


def test_a_grid_of_bits_is_measured_apart_and_added() -> None:
    traced = trace_network(seeded(ODD["shortcuts"][0]), MAP, resolutions=())
    made = Compressor(traced, images_for(MAP, 24), {})
    space = only_bits(build_space(traced.network, precisions=GRID))
    calls: list[int] = []
    found = measure_sensitivity(
        made.database,
        space,
        made.images,
        rounded=made.joint,
        on_choice=lambda done, _: calls.append(done),
    )
    assert calls == sorted(set(calls))
    sums, wholes = [], []
    for variable, row in zip(space.variables, found.single, strict=True):
        assert len(row) == 49
        assert row[-1] == 0.0
        assert row[0] == row.max()  # two bits for both
        options = list(variable.options)
        for bits in (Bits(3, 4), Bits(2, 3)):
            whole = alone(made, variable.name, bits, made.images)
            sums.append(row[options.index(bits)])
            wholes.append(whole - alone(made, variable.name, Bits(8, 8), made.images))
    assert np.median(np.abs(np.array(sums) / np.array(wholes) - 1)) < 0.2


def sensitivity_of(space: Space, found: Sensitivity, vector: list[int], joint: bool) -> float:
    total = sum(float(row[index]) for row, index in zip(found.single, vector, strict=True))
    if joint:
        total += sum(float(table[vector[a], vector[b]]) for (a, b), table in found.pairwise)
    return total


def test_bits_and_channels_together_are_known_better_than_their_sum() -> None:
    traced = trace_network(seeded(ODD["multiplied"][0]), MAP, resolutions=())
    counts = {group.name: tuple(range(1, group.channels + 1)) for group in traced.network.groups}
    made = Compressor(traced, images_for(MAP, 64), counts, scheme="qdq-u8s8")
    space = build_space(traced.network, precisions=(Bits(3, 4), Bits(5, 8), Bits()))
    found = measure_sensitivity(made.database, space, made.images, rounded=made.joint)
    assert found.pairwise
    for (one, other), extra in found.pairwise:
        assert space.variables[one].kind == "channels"
        assert space.variables[other].kind == "bits"
        assert extra.shape == (space.sizes[one], space.sizes[other])
        assert not extra[-1].any()
        assert not extra[:, -1].any()
    dense = outputs_of(traced.model, made.images)
    added, together, truth = [], [], []
    for (one, other), _ in found.pairwise:
        for index in range(0, space.sizes[one] - 1, 2):
            vector = space.dense.tolist()
            vector[one] = index
            cut = made.make(space.decode(np.array(vector, dtype=np.int16)), finish=False)
            vector[other] = 0
            both = made.make(space.decode(np.array(vector, dtype=np.int16)), finish=False)
            # what rounding adds to a network that is cut already
            change = relative(outputs_of(both, made.images), outputs_of(cut, made.images))
            truth.append(change * float(outputs_of(cut, made.images).var(0).mean()))
            base = float(found.single[one][index])
            scale = float(dense.var(0).mean())
            added.append((sensitivity_of(space, found, vector, False) - base) * scale)
            together.append((sensitivity_of(space, found, vector, True) - base) * scale)
    wrong = [np.log(np.array(each) / np.array(truth)) for each in (added, together)]
    assert np.square(wrong[1]).mean() < 0.5 * np.square(wrong[0]).mean()


def test_a_space_with_bits_needs_the_rounding() -> None:
    made = compressor("residual")
    space = only_bits(build_space(read("residual").network, precisions=INT8))
    with pytest.raises(SpaceError, match="cannot be measured without the rounding"):
        measure_sensitivity(made.database, space, made.images[:2])


def test_activations_that_never_move_are_named_with_the_layer() -> None:
    model: nn.Module = seeded(ODD["multiplied"][0])
    with torch.no_grad():
        model.first.bias.fill_(-100.0)  # type: ignore[union-attr,operator]
    traced = trace_network(model, MAP, resolutions=())
    made = Compressor(traced, images_for(MAP, 8), {}, scheme="qdq-s8s8")
    space = only_bits(build_space(traced.network, precisions=INT8))
    with pytest.raises(QuantizationError, match=r"^(first|depthwise): constant activations \(0\)"):
        measure_sensitivity(made.database, space, made.images, rounded=made.joint)


def test_images_are_walked_once_for_what_fits_whatever_is_asked_of_a_layer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    traced = trace_network(seeded(ODD["multiplied"][0]), MAP, resolutions=())
    counts = {group.name: tuple(range(1, group.channels + 1)) for group in traced.network.groups}
    made = Compressor(traced, images_for(MAP, 16), counts, scheme="qdq-u8s8")
    moments = made.features(0).moments
    assert isinstance(moments, StreamedMoments)
    moments.tighten(1)  # one layer at a time
    walked: list[str] = []
    collect = moments._collect

    def counted(names: Collection[str]) -> Mapping[str, Moments]:
        walked.extend(names)
        return collect(names)

    monkeypatch.setattr(moments, "_collect", counted)
    space = build_space(traced.network, precisions=INT8)
    found = measure_sensitivity(made.database, space, made.images, rounded=made.joint)
    assert found.pairwise
    assert len(walked) > 1
    assert len(walked) == len(set(walked))
