"""What `apply` trains: planned before anything is made, told in full, left as small as it was."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import torch
from tiny import model as tiny_model
from tiny import request, task, write_table

from automl.errors import StudyError, UsageError
from automl.pipeline import apply, search
from automl.pipeline.recovering import checkpoint_of, plan_recovery
from automl.pipeline.requests import ApplyRequest
from automl.policy.file import PolicyFile
from automl.recovery import Recovered, RecoveryRecipe

DONE = Recovered(0, (), None, None, None, "last", "", 0.0)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> PolicyFile:
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOML_HOME", str(folder / "home"))
        patch.setattr("automl.pipeline.results.export_onnx", lambda *_, **__: 0.0)
        return search(request(write_table(folder / "board.jsonl"), folder / "run", "60%")).policy


def asked(
    policy: PolicyFile, tmp_path: Path, recover: str, start: str | None = None
) -> ApplyRequest:
    return ApplyRequest(task(), policy, tmp_path / "model.pt", recover=recover, start=start)


def test_what_is_asked_for_becomes_a_recipe(policy: PolicyFile, tmp_path: Path) -> None:
    assert plan_recovery(asked(policy, tmp_path, "0")) is None
    planned = plan_recovery(asked(policy, tmp_path, "kd+hints:7", "scratch"))
    assert planned is not None
    assert planned.recipe == RecoveryRecipe(("kd", "hints"), 7, start="scratch")
    (tmp_path / "mine.toml").write_text("epochs = 2\n[terms.hints]\n")
    planned = plan_recovery(asked(policy, tmp_path, str(tmp_path / "mine.toml")))
    assert planned is not None
    assert planned.recipe == RecoveryRecipe(("hints",), 2)
    planned = plan_recovery(asked(policy, tmp_path, "auto:1min"))
    assert planned is not None
    assert planned.seconds == 60.0


def test_labels_that_are_not_there_are_missed_before_anything_is_made(
    policy: PolicyFile, tmp_path: Path
) -> None:
    given = task()
    bare = dataclasses.replace(
        given.data.validation, pairs=tuple((each, None) for each, _ in given.data.validation.pairs)
    )
    given = dataclasses.replace(given, data=dataclasses.replace(given.data, validation=bare))
    wrong = dataclasses.replace(asked(policy, tmp_path, "kd+labels:2"), task=given)
    with pytest.raises(UsageError, match="labels needs targets, and the data has none"):
        apply(wrong)


def test_hints_without_a_width_in_common_are_missed_before_anything_is_made(
    policy: PolicyFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("automl.pipeline.finishing.Compressor", None)
    thin = {name: group.model_copy(update={"kept": 8}) for name, group in policy.channels.items()}
    changed = policy.model_copy(update={"channels": thin, "removed": ()})
    with pytest.raises(UsageError, match="has changed the width of all of that"):
        apply(asked(changed, tmp_path, "kd+hints:2"))
    with pytest.raises(TypeError):  # what kd asks for is not looked for
        apply(asked(changed, tmp_path, "kd:2"))


def test_rungs_are_told_each_with_what_it_brought(policy: PolicyFile, tmp_path: Path) -> None:
    result = apply(asked(policy, tmp_path, "auto:1s"))
    told = [note for note in result.notes if note.startswith("recovery, ")]
    assert {note.split(":")[0] for note in told} >= {"recovery, norms", "recovery, end to end"}
    stored = torch.load(result.weights_path, weights_only=True)
    assert stored.keys() == result.model.state_dict().keys()


def test_what_a_start_gives_is_trained(policy: PolicyFile, tmp_path: Path) -> None:
    plain = apply(asked(policy, tmp_path, "0"))
    result = apply(asked(policy, tmp_path, "1", "scratch"))
    before, after = plain.model.state_dict(), result.model.state_dict()
    assert {n: v.shape for n, v in before.items()} == {n: v.shape for n, v in after.items()}
    assert all(
        not torch.equal(each, after[name]) for name, each in before.items() if each.dim() > 1
    )


def test_channels_that_a_hook_zeroes_are_cut_out_of_what_is_delivered(
    policy: PolicyFile, tmp_path: Path
) -> None:
    plain = apply(asked(policy, tmp_path, "0"))
    wished = dataclasses.replace(
        asked(policy, tmp_path, "3"), hook=("zero-out:share=0.5",), export=tmp_path / "small.py"
    )
    result = apply(wished)
    told = " ".join(result.notes)
    assert re.search(r"zero-out: (\d+) of \d+ channels are zero.* \1 of \d+ channels were", told)
    stored = torch.load(result.weights_path, weights_only=True)
    assert stored["stem.weight"].shape[0] < plain.model.state_dict()["stem.weight"].shape[0]
    assert stored.keys() == plain.model.state_dict().keys()
    assert result.export_error is not None
    assert result.export_error < 1e-4


def with_forms(policy: PolicyFile, **forms: str) -> PolicyFile:
    """The policy's channels and blocks as they were, and layers of forms."""
    changed = {"channels": {}, "removed": (), "further": {"form": forms}}
    return policy.model_copy(update=changed)


def test_hooks_work_on_policies_with_forms_and_what_is_packed_stays_in_them(
    policy: PolicyFile, tmp_path: Path
) -> None:
    masked = with_forms(policy, **{"block.inner": "unstructured:50", "block.outer": "2:4"})
    packed = tmp_path / "model.aml"
    plain = apply(dataclasses.replace(asked(masked, tmp_path, "0"), packed=packed))
    size = packed.stat().st_size
    wished = dataclasses.replace(
        asked(masked, tmp_path, "2"), hook=("surgery:share=0.6",), packed=packed
    )
    result = apply(wished)
    assert packed.stat().st_size <= size
    for name in ("block.inner.weight", "block.outer.weight"):
        before, after = plain.model.get_parameter(name), result.model.get_parameter(name)
        assert (after[before == 0] == 0).all()
        assert not torch.equal(before, after)
    channels = dataclasses.replace(wished, hook=("zero-out",))
    with pytest.raises(UsageError, match=r"hook: zero-out takes channels out.*2:4, unstructured"):
        apply(channels)
    numbers = with_forms(policy, **{"block.inner": "clustered:40-4"})
    told = apply(dataclasses.replace(asked(numbers, tmp_path, "2"), hook=("iht",))).notes
    assert any("hooks left the weights of 1 layers" in note for note in told)
    ranks = with_forms(policy, **{"block.inner": "rank-channel:first-8"})
    rank = apply(dataclasses.replace(asked(ranks, tmp_path, "2"), hook=("zero-out:share=0.5",)))
    assert rank.model.get_parameter("block.inner.0.weight").shape[0] == 4


def test_a_hook_that_can_do_nothing_is_refused_before_anything_is_made(
    policy: PolicyFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("automl.pipeline.finishing.Compressor", None)
    monkeypatch.setattr("automl.recovery.channels._channels", lambda *_: None)
    wished = dataclasses.replace(asked(policy, tmp_path, "3"), hook=("zero-out",))
    with pytest.raises(UsageError, match="hook: this network has no group of channels"):
        apply(wished)


def test_a_rewound_network_begins_with_the_first_weights_that_are_left(
    policy: PolicyFile, tmp_path: Path
) -> None:
    thin = {name: group.model_copy(update={"kept": 8}) for name, group in policy.channels.items()}
    changed = policy.model_copy(update={"channels": thin})
    first = tiny_model()
    with torch.no_grad():
        for value in first.parameters():
            value.copy_(torch.arange(value.numel()).view_as(value) / value.numel())
    torch.save(first.state_dict(), tmp_path / "first.pt")
    begun: list[dict[str, torch.Tensor]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "automl.pipeline.recovering.recover",
            lambda objective, *_, **__: begun.append(objective.student.state_dict()) or DONE,
        )
        apply(asked(changed, tmp_path, "3", f"rewind:weights={tmp_path / 'first.pt'}"))
    (found,) = begun
    assert len(found["stem.weight"]) == 8
    rows = {tuple(row.flatten().tolist()) for row in first.state_dict()["stem.weight"]}
    assert {tuple(row.flatten().tolist()) for row in found["stem.weight"]} <= rows
    assert set(found["norm.weight"].tolist()) <= set(first.state_dict()["norm.weight"].tolist())
    with pytest.raises(UsageError, match="has to be told the network's first weights"):
        apply(asked(policy, tmp_path, "3", "rewind"))
    torch.save({}, tmp_path / "none.pt")
    with pytest.raises(UsageError, match=r"none\.pt has no '.*': it is of another network"):
        apply(asked(policy, tmp_path, "3", f"rewind:weights={tmp_path / 'none.pt'}"))


def test_a_checkpoint_that_is_anothers_is_in_the_way(policy: PolicyFile, tmp_path: Path) -> None:
    checkpoint_of(tmp_path / "model.pt").write_bytes(b"not one")
    with pytest.raises(StudyError, match=r"model\.pt\.recovery is no checkpoint"):
        apply(asked(policy, tmp_path, "1"))
    assert not (tmp_path / "model.pt").exists()
