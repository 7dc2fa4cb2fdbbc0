"""Policy files: what is written is read, and what is broken is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from automl.errors import PolicyError
from automl.policy.file import (
    check_fits,
    read_policy,
    write_policy,
)
from automl.policy.policy import Bits
from policy_files import NETWORK, POLICY, policy_file

DATA = Path(__file__).parent / "data"


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "run" / "policy.json"
    write_policy(policy_file(), path)
    return path


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


def test_what_is_written_is_read(written: Path) -> None:
    assert read_policy(written) == policy_file()
    assert read_policy(written).policy == POLICY
    check_fits(read_policy(written), NETWORK)


def test_the_file_reads_like_what_it_says(written: Path) -> None:
    content = json.loads(written.read_text())
    assert content["schema_version"] == 2
    assert content["channels"]["stem"] == {"dense": 16, "kept": 8}
    assert content["bits"] == {"mix": {"weights": 8, "activations": 8}}
    assert content["removed"] == ["block"]
    assert content["predicted"]["latency_seconds"] == 0.001
    assert content["made_with"] == {
        "importance": "obs",
        "compensation": True,
        "reconstruction": "least-squares",
        "quantization": "second-order",
        "calibration": 2000,
        "memory": 0,
        "seed": 3,
        "inputs_digest": "d2",
    }


def test_files_of_schema_1_are_read(tmp_path: Path) -> None:
    found = read_policy(DATA / "schema-1.json")
    assert (found.schema_version, found.made_with) == (2, None)
    assert found.target.scheme is None
    assert found.policy.resolution or found.policy.channels or found.policy.removed
    old = json.loads((DATA / "schema-1.json").read_text())
    write_policy(found, tmp_path / "again.json")
    new = json.loads((tmp_path / "again.json").read_text())
    for key in ("model", "budget", "channels", "removed", "resolution", "score", "agent", "seed"):
        assert new[key] == old[key]
    assert read_policy(tmp_path / "again.json") == found


def test_schema_1_called_the_scheme_form_and_schema_2_does_not(tmp_path: Path) -> None:
    found = read_policy(DATA / "schema-1-form.json")
    assert found.target.scheme == "qdq-u8s8"
    assert found.policy.bits == {"stage1.0.conv1": Bits(8, 8)}
    path = tmp_path / "policy.json"
    write_policy(found, path)
    assert "form" not in json.loads(path.read_text())["target"]
    edit(path, lambda c: c["target"].update(form="qdq-u8s8"))
    with pytest.raises(PolicyError, match=r"unknown key 'target.form'"):
        read_policy(path)


@pytest.mark.parametrize("version", [1, 2])
def test_kinds_of_choice_that_are_unknown_are_refused(version: int, written: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["schema_version"] = version
        if version == 1:
            del content["made_with"]
        content["forms"] = {"stem": {"form": "rank-spatial", "rank": 16}}

    with pytest.raises(PolicyError, match="unknown key 'forms'"):
        read_policy(edit(written, change))


def test_a_file_of_schema_1_says_nothing_of_how_it_was_made(written: Path) -> None:
    with pytest.raises(PolicyError, match=r"schema_version: .*, found 1"):
        read_policy(edit(written, lambda c: c.update(schema_version=1)))


def test_a_policy_file_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        policy_file().seed = 3  # type: ignore[misc]


def test_it_is_written_whole_or_not_at_all(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = written.read_text()
    monkeypatch.setattr("os.replace", full)
    with pytest.raises(PolicyError, match="cannot be written: No space left on device"):
        write_policy(policy_file().with_score(0.1, "nothing"), written)
    assert written.read_text() == before
    assert [path.name for path in written.parent.iterdir()] == ["policy.json"]


def test_a_truncated_file_names_line_and_column(written: Path) -> None:
    lines = written.read_text().splitlines()
    written.write_text("\n".join(lines[:4]))
    with pytest.raises(PolicyError, match=r"policy.json:4:\d+: not JSON: .*the file ends early"):
        read_policy(written)


def test_a_corrupt_file_names_line_and_column(written: Path) -> None:
    written.write_text(written.read_text().replace('"automl": ', '"automl" ', 1))
    with pytest.raises(PolicyError, match=r"policy.json:3:12: not JSON: Expecting ':' delimiter$"):
        read_policy(written)


def test_what_is_no_text_is_refused(written: Path) -> None:
    written.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PolicyError, match="is not text"):
        read_policy(written)


def test_a_missing_file_names_the_nearest(written: Path) -> None:
    with pytest.raises(PolicyError, match=r"No such file .*\(did you mean policy.json\?\)"):
        read_policy(written.with_name("polcy.json"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda c: c.update(schema_version=3),
            "schema_version 3; .* reads versions 1 and 2",
        ),
        (lambda c: c.pop("made_with"), "made_with is missing"),
        (lambda c: c["made_with"].pop("seed"), "made_with.*seed is missing"),
        (lambda c: c.pop("schema_version"), "has no schema_version"),
        (lambda c: c.update(chanels={}), r"unknown key 'chanels' \(did you mean channels\?\)"),
        (lambda c: c["model"].pop("fingerprint"), "model.fingerprint is missing"),
        (lambda c: c["channels"]["stem"].update(kept=-1), r"channels.stem.kept: .*, found -1"),
        (lambda c: c.update(seed="x"), r"seed: .*valid integer.*, found 'x'"),
        (lambda c: c.update(seed=-1), r"seed: .*greater than or equal to 0, found -1"),
        (lambda c: c["made_with"].update(seed=-1), r"made_with.*seed: .*than or equal to 0"),
        (lambda c: c["predicted"].update(macs=1e308), r"macs: .* equal to 10{18}, found 1e\+308"),
    ],
)
def test_a_wrong_field_is_named(
    written: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    with pytest.raises(PolicyError, match=rf"policy.json.*{reason}"):
        read_policy(edit(written, change))


def test_a_list_is_no_policy(written: Path) -> None:
    written.write_text("[1, 2]")
    with pytest.raises(PolicyError, match="has no schema_version"):
        read_policy(written)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda c: c["model"].update(fingerprint="ffff"),
            "for another model: mine.py:net with fingerprint ffff, this one is 0123456789ab",
        ),
        (
            lambda c: c["model"].update(input_shape=[1, 3, 8, 8]),
            r"for inputs of \(1, 3, 8, 8\), not \(1, 3, 32, 32\)",
        ),
        (
            lambda c: c["channels"].update(stam={"dense": 4, "kept": 2}),
            r"no channel group 'stam' \(did you mean stem\?\)",
        ),
        (
            lambda c: c.update(removed=["blok"]),
            r"the model has no block 'blok' \(did you mean block\?\)",
        ),
        (
            lambda c: c["bits"].update(mixed={}),
            r"the model has no layer 'mixed' \(did you mean mix\?\)",
        ),
        (
            lambda c: c["channels"]["stem"].update(dense=32),
            "keeps 8 of 32 channels of stem, the model has 16",
        ),
        (lambda c: c.update(resolution=20), r"at resolution 20 \(only 16, 32\)"),
    ],
)
def test_a_policy_for_another_model_is_refused(
    written: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    with pytest.raises(PolicyError, match=reason):
        check_fits(read_policy(edit(written, change)), NETWORK)


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        (("channels", "stem", "kept"), 0, "channels.stem.kept"),
        (("channels", "stem", "kept"), 17, "kept 17 of 16 channels"),
        (("predicted", "latency_seconds"), -1e-3, "predicted.latency_seconds"),
        (("predicted", "latency_error"), -0.1, "predicted.latency_error"),
        (("predicted", "macs"), -1.0, "predicted.macs"),
        (("dense", "bytes"), -1.0, "dense.bytes"),
    ],
)
def test_what_cannot_be_is_refused(
    written: Path, where: tuple[str, ...], value: float, said: str
) -> None:
    def change(content: dict[str, Any]) -> None:
        for key in where[:-1]:
            content = content[key]
        content[where[-1]] = value

    with pytest.raises(PolicyError, match=said) as caught:
        read_policy(edit(written, change))
    assert "\n" not in str(caught.value)
