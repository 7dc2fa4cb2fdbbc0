"""The finishing step: it changes nothing that is right and recovers what can be recovered."""

from __future__ import annotations

import copy

import pytest
import torch
from compressed import NAMES, compressor, images_for, outputs_of, random_policy, read
from small import MAP, ODD, Block, Plain, Shortcuts, seeded
from torch import Tensor, nn

from automl.compression.compressor import Compressor
from automl.compression.memory import MemoryPlan
from automl.compression.quantization.second_order import SecondOrder
from automl.compression.quantization.simulation import make_plan
from automl.compression.reconstruction.base import Candidate, RefitSettings
from automl.compression.reconstruction.least_squares import LeastSquares
from automl.compression.resizing import resized
from automl.compression.statistics import Features, collect
from automl.network.precision import Flow
from automl.network.traced_model import TracedModel, trace_network
from automl.policy.policy import Policy


def every_count(traced: TracedModel) -> dict[str, tuple[int, ...]]:
    return {
        group.name: tuple(range(group.partition, group.channels + 1, group.partition))
        for group in traced.network.groups
    }


def made(traced: TracedModel, count: int = 32) -> Compressor:
    images = images_for(traced.network.input_shape, count)
    return Compressor(traced, images, every_count(traced))


def refit(model: nn.Module, traced: TracedModel, features: Features) -> None:
    plan = make_plan(Flow(traced.trace), {}, None)
    candidate = Candidate(model, traced.trace, features, {}, plan)
    assert LeastSquares().finish(candidate, SecondOrder()) is model


def error(found: Tensor, expected: Tensor) -> float:
    """Mean squared difference relative to the variance."""
    return float((found - expected).square().mean() / expected.var())


@pytest.mark.parametrize("name", [*ODD, *(f"zoo {name}" for name in NAMES)])
def test_the_refit_of_the_dense_network_changes_nothing(name: str) -> None:
    traced = (
        read(name.removeprefix("zoo "))
        if name.startswith("zoo ")
        else trace_network(seeded(ODD[name][0]), ODD[name][1], resolutions=())
    )
    images = images_for(traced.network.input_shape, 24)
    plan = MemoryPlan(traced.trace, batch=10)
    features = collect(traced.model, traced.trace, images, plan=plan)
    assert features.targets
    model = copy.deepcopy(traced.model)
    refit(model, traced, features)
    assert error(outputs_of(model, images), outputs_of(traced.model, images)) < 1e-7


@pytest.mark.parametrize("name", ODD)
def test_less_is_lost_with_the_refit_than_without(name: str) -> None:
    factory, shape = ODD[name]
    traced = trace_network(seeded(factory), shape, resolutions=())
    compressor_ = made(traced, 96)  # linear layers have one row an image
    expected, raw, finished = outputs_of(traced.model, compressor_.images), 0.0, 0.0
    for seed in range(3):
        policy = Policy(random_policy(traced, seed).channels)
        for finish in (False, True):
            model = compressor_.make(policy, finish=finish)
            loss = error(outputs_of(model, compressor_.images), expected)
            raw, finished = (raw, finished + loss) if finish else (raw + loss, finished)
    assert finished < raw


@pytest.mark.parametrize("name", NAMES)
def test_every_network_has_finite_weights_and_outputs_of_the_same_shape(name: str) -> None:
    traced, compressor_ = read(name), compressor(name)
    expected = outputs_of(traced.model, compressor_.images)
    for seed in range(4):
        policy = random_policy(traced, seed)
        model = compressor_.make(policy, settings=RefitSettings(images=16, rows=200))
        assert all(torch.isfinite(value).all() for value in model.state_dict().values())
        found = outputs_of(model, resized(compressor_.images, policy.resolution))
        assert found.shape == expected.shape
        assert torch.isfinite(found).all()


def doubled() -> nn.Module:
    """`second` can do without half of what it reads: channels 4 to 7 repeat 0 to 3."""
    model = seeded(Plain)
    with torch.no_grad():
        for value in (model.first.weight, model.first.bias):
            value[4:] = value[:4]
    return model


def combined() -> nn.Module:
    """Without activation between them, one channel is a sum of two others."""
    model = seeded(lambda: nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 5)))
    with torch.no_grad():
        for value in (model[0].weight, model[0].bias):
            value[7] = 0.5 * value[1] - 2 * value[2]
    return model


@pytest.mark.parametrize(
    ("model", "shape", "policy"),
    [
        (doubled(), MAP, Policy({"first": 4})),
        (combined(), (1, 6), Policy({"0": 7})),
    ],
    ids=["doubled", "combined"],
)
def test_what_other_channels_say_as_well_is_recovered(
    model: nn.Module, shape: tuple[int, ...], policy: Policy
) -> None:
    traced = trace_network(model, shape, resolutions=())
    compressor_ = made(traced, 64)
    fresh = images_for(shape, 50, seed=9)
    found = outputs_of(compressor_.make(policy), fresh)
    assert error(found, outputs_of(traced.model, fresh)) < 1e-4


def test_a_block_corrects_what_it_inherits_from_one_that_was_left_out() -> None:
    traced = trace_network(seeded(Shortcuts), MAP, resolutions=())
    compressor_ = made(traced)
    policy = Policy(removed=frozenset({"same"}))
    sums = []
    for model in (traced.model, compressor_.make(policy, finish=False), compressor_.make(policy)):
        block: Block = model.same2  # type: ignore[assignment]
        values = []
        handle = block.register_forward_hook(lambda _, __, output, to=values: to.append(output))
        outputs_of(model, compressor_.images)
        handle.remove()
        sums.append(values[0])
    dense, raw, finished = sums
    assert error(finished, dense) < 0.5 * error(raw, dense)


def dead(traced: TracedModel) -> None:
    with torch.no_grad():
        first = traced.model.get_submodule("first")
        first.weight.zero_()  # type: ignore[operator]
        first.bias.fill_(-1.0)  # type: ignore[operator]


def test_inputs_that_never_move_leave_finite_weights() -> None:
    traced = trace_network(seeded(Plain), MAP, resolutions=())
    dead(traced)
    compressor_ = made(traced, 4)
    model = compressor_.make(Policy({"first": 3, "second": 2}))
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    expected = outputs_of(traced.model, compressor_.images)
    torch.testing.assert_close(outputs_of(model, compressor_.images), expected)


def test_a_layer_whose_inputs_are_not_finite_stays_as_it_is() -> None:
    traced = trace_network(seeded(Plain), MAP, resolutions=())
    features = collect(traced.model, traced.trace, images_for(MAP, 4))
    model = copy.deepcopy(traced.model)
    with torch.no_grad():
        model.get_submodule("first").bias[0] = torch.inf  # type: ignore[index,operator]
    features.aims.pop("first")
    features.targets.pop("first")
    before = model.get_submodule("second").weight.clone()  # type: ignore[operator]
    refit(model, traced, features)
    assert torch.equal(before, model.get_submodule("second").weight)  # type: ignore[arg-type]


def test_the_same_policy_is_made_the_same_twice() -> None:
    traced = read("residual")
    policy = random_policy(traced, 5)
    first, second = (made(traced, 8).make(policy).state_dict() for _ in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_counts_that_nobody_asks_for_change_nothing() -> None:
    traced = read("residual")
    policy = Policy(random_policy(traced, 5).channels)
    images = images_for(traced.network.input_shape, 8)
    alone = {name: (count,) for name, count in policy.channels.items()}
    first = Compressor(traced, images, alone).make(policy).state_dict()
    second = made(traced, 8).make(policy).state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_fewer_images_are_a_worse_fit_and_fewer_rows_another() -> None:
    traced = trace_network(seeded(Shortcuts), MAP, resolutions=())
    compressor_ = made(traced)
    policy = Policy({group.name: group.channels // 2 for group in traced.network.groups})
    expected = outputs_of(traced.model, compressor_.images)
    all_, few, thin = (
        outputs_of(compressor_.make(policy, settings=each), compressor_.images)
        for each in (RefitSettings(), RefitSettings(images=3), RefitSettings(rows=32))
    )
    assert error(all_, expected) < error(few, expected)
    assert not torch.equal(all_, thin)
