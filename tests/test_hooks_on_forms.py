"""Every hook on networks with layers of forms: it works, or says which form is against it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from recoverable import batches, pair
from torch import nn

import automl
from automl.compression import further_parts, in_place, kernel_of, noted_forms
from automl.errors import UsageError
from automl.network import trace_network
from automl.policy import Policy
from automl.recovery import (
    HOOKS,
    Beginning,
    FormedStudent,
    Objective,
    Recovered,
    RecoveryData,
    RecoveryRecipe,
    recover,
    student_of_floats,
    without_dead,
)

#: Those that run as operators of their own, those of which some weights stay zero, and those of
#: which all are made of few numbers.
OPERATORS = ("rank-spatial:3",)
MASKS = ("2:4", "unstructured:50")
NUMBERS = ("clustered:40-4",)
#: Options with which a few steps are enough to see something.
OPTIONS = {"soft-mask": ":share=0.5", "prox": ":of=weights,strength=1.0", "zero-out": ":share=0.5"}
NAMES = [name for name in HOOKS.ours if name != "progressive-bits"]
LAYER = "blocks.0.conv1"
CONVOLUTIONS = ("blocks.0.conv1", "blocks.0.conv2", "blocks.1.conv1", "blocks.1.conv2")


def formed(text: str, layers: tuple[str, ...] = (LAYER,), *, zeros: bool = False) -> nn.Module:
    """The small network with layers of a form; where that is asked for, its stem has zeros."""
    model = trace_network(pair()[1], (1, 3, 8, 8), resolutions=()).model
    policy = Policy(further={"form": dict.fromkeys(layers, text)})
    in_place(model, further_parts(model, policy)).requires_grad_(False)
    if zeros:
        model.get_parameter("stem.weight")[:, 1] = 0
    return model


def trained(
    model: nn.Module, hooks: tuple[str, ...], folder: Path | None = None, die_at: int = 0
) -> tuple[nn.Module, nn.Module, Recovered]:
    """The student after some steps, what is delivered of it, and what the training came to."""
    teacher, data = pair()[0], batches(count=2)
    recipe = RecoveryRecipe(epochs=4, hooks=hooks)
    student = student_of_floats(model, [inputs for inputs, _ in data], teacher)

    def die(done: int, _: int | None) -> None:
        if done == die_at:
            raise KeyboardInterrupt

    objective = Objective(student, (teacher,), recipe.made_terms())
    checkpoint = None if folder is None else folder / "left"
    found = recover(objective, RecoveryData(data), recipe, checkpoint=checkpoint, on_step=die)
    return student, automl.delivered(student), found


def member(module: Any, form: Any, parameter: Any) -> bool:
    """Whether a layer's form stores it as it is."""
    kernel = kernel_of(module)
    stored = [each.values for each in form.pack(parameter, kernel)]
    if not stored:
        return len(kernel.unique()) <= 17
    made = form.unpack(parameter, stored, tuple(kernel.shape)).double()
    return torch.allclose(made, kernel, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("text", [*OPERATORS, *MASKS, *NUMBERS])
@pytest.mark.parametrize("name", NAMES)
def test_a_hook_works_beside_a_layer_of_a_form_and_the_layer_stays_one(
    name: str, text: str
) -> None:
    model = formed(text, zeros=name == "keep-zeros")
    before = {key: each.clone() for key, each in model.state_dict().items()}
    student, result, found = trained(model, (name + OPTIONS.get(name, ""),))
    assert changed(result, untouched(text, name == "keep-zeros"))
    inputs = batches()[0][0]
    torch.testing.assert_close(result(inputs), student(inputs).detach(), rtol=1e-4, atol=1e-4)
    if text in OPERATORS:
        assert not noted_forms(result)
        return
    ((layer, (form, parameter)),) = noted_forms(result).items()
    module: Any = result.get_submodule(layer)
    assert member(module, form, parameter)
    gone = before[f"{layer}.weight"] == 0
    if text in MASKS:
        assert gone.any()
        assert (module.weight[gone] == 0).all()
    acts = HOOKS.build(name).acts_on
    held = acts == "channels" or (acts == "weights" and text in NUMBERS)
    told = f"of 1 layers as they are: forms hold them ({form.name})"
    assert any(told in each for each in found.told) == held
    smaller, cut, _ = without_dead(result, inputs[:1], noted_forms(result))
    kept: Any = smaller.get_submodule(layer)
    assert kept.weight.shape == module.weight.shape
    if acts == "channels":
        assert cut
        torch.testing.assert_close(smaller(inputs), result(inputs), rtol=1e-4, atol=1e-4)


@cache
def untouched(text: str, zeros: bool) -> nn.Module:
    """What training without a hook delivers."""
    return trained(formed(text, zeros=zeros), ())[1]


def changed(one: nn.Module, other: nn.Module) -> bool:
    values = other.state_dict()
    return any(not torch.equal(each, values[key]) for key, each in one.state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_where_all_layers_have_forms_what_means_nothing_is_refused_by_hook_and_form(
    name: str,
) -> None:
    acts = HOOKS.build(name).acts_on
    everywhere = ("stem", *CONVOLUTIONS, "head")
    if acts == "outputs":
        student, result, _ = trained(formed("clustered:40-4", everywhere), (name,))
        assert isinstance(student, FormedStudent)
        assert changed(result, trained(formed("clustered:40-4", everywhere), ())[1])
    else:
        with pytest.raises(UsageError, match=rf"{name} .*forms .*\(clustered\)"):
            trained(formed("clustered:40-4", everywhere), (name,))
    if acts == "channels":
        with pytest.raises(UsageError, match=rf"{name} takes channels out, and all .*\(2:4\)"):
            trained(formed("2:4", CONVOLUTIONS), (name,))


def test_scales_of_norms_that_stay_folded_are_refused_by_their_forms() -> None:
    hooks = ("prox:of=gamma",)
    with pytest.raises(UsageError, match=r"prox of=gamma .*clustered"):
        trained(formed("clustered:40-4", CONVOLUTIONS), hooks)
    *_, found = trained(formed("2:4", CONVOLUTIONS), hooks)
    assert "groups of gamma" in found.told[0]


@pytest.mark.parametrize("hook", ["surgery", "iht", "zero-out"])
def test_what_was_killed_goes_on_to_the_same_weights(hook: str, tmp_path: Path) -> None:
    whole = trained(formed("2:4"), (hook,))[1]
    with pytest.raises(KeyboardInterrupt):
        trained(formed("2:4"), (hook,), tmp_path, die_at=5)
    assert (tmp_path / "left").exists()
    assert not changed(trained(formed("2:4"), (hook,), tmp_path)[1], whole)


@pytest.mark.parametrize("text", [*OPERATORS[:1], *MASKS, *NUMBERS])
@pytest.mark.parametrize("name", ["", "zero-out", "surgery", "meprop"])
def test_a_loop_of_ones_own_keeps_forms_too(name: str, text: str) -> None:
    model, teacher, data = formed(text), pair()[0], batches(count=2)
    student = automl.trainable(model, data, dense=teacher)
    optimiser = torch.optim.AdamW(student.parameters(), 0.003, weight_decay=0.1)
    hooks = [name] if name else []
    for loss in automl.recover(student, teacher, data, hooks=hooks, epochs=4):
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    result = automl.delivered(student)
    assert changed(result, model)
    assert result.state_dict().keys() == model.state_dict().keys()
    assert {*noted_forms(result)} == ({LAYER} if text not in OPERATORS else set())
    for layer, (form, parameter) in noted_forms(result).items():
        assert member(result.get_submodule(layer), form, parameter)
        if text in MASKS:
            gone = model.get_parameter(f"{layer}.weight") == 0
            assert (result.get_parameter(f"{layer}.weight")[gone] == 0).all()


def test_new_weights_under_a_mask_are_zero_where_it_is() -> None:
    model, teacher, data = formed("unstructured:50"), pair()[0], batches(count=2)
    recipe = RecoveryRecipe(epochs=2, start="scratch", hooks=("iht",))
    student = student_of_floats(model, [inputs for inputs, _ in data])
    recipe.made_start().begin(Beginning(student))
    recover(Objective(student, (teacher,), recipe.made_terms()), RecoveryData(data), recipe)
    weight = automl.delivered(student).get_parameter(f"{LAYER}.weight")
    assert (weight[model.get_parameter(f"{LAYER}.weight") == 0] == 0).all()
    assert weight.any()
