"""Readers stand whatever they are given: `make fuzz` does a million of what is done here."""

from __future__ import annotations

import json
import os
from itertools import islice
from pathlib import Path
from random import Random

import pytest
from hostile import READERS, VALUES, Reader, as_json, inputs, verdict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.filterwarnings("error")
EACH = 60
FINE = ("accepted", "refused")
JSON = st.recursive(
    st.sampled_from(
        [each for each in VALUES if isinstance(each, str | float)] + [None, True, 2**64]
    )
    | st.integers()
    | st.floats()
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
READ_AS_JSON = [
    each
    for each in READERS
    if each.file.endswith((".json", ".holder", ".any")) and each.name != "timings"
]


def name(reader: Reader) -> str:
    return reader.name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.mark.parametrize("reader", READERS, ids=name)
def test_good_files_are_accepted_by_readers(reader: Reader, folder: Path) -> None:
    answers = []
    for content in reader.seeds():
        (folder / reader.file).write_bytes(content)
        answers.append(verdict(reader, folder / reader.file))
    assert set(answers) <= {*FINE}
    assert "accepted" in answers


@pytest.mark.parametrize("reader", READERS, ids=name)
def test_changed_files_are_accepted_or_refused(reader: Reader, folder: Path) -> None:
    path = folder / reader.file
    for number, content in enumerate(islice(inputs(reader, 0), EACH)):
        path.write_bytes(content)
        assert verdict(reader, path) in FINE, f"input {number} of {reader.name}"


@pytest.mark.parametrize("reader", READ_AS_JSON, ids=name)
def test_any_json_in_any_place_is_accepted_or_refused(reader: Reader, folder: Path) -> None:
    path = folder / reader.file
    seeds = [json.loads(each) for each in reader.seeds() if each.startswith((b"{", b"["))]

    @settings(
        max_examples=EACH,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(seeds), st.data(), JSON)
    def put(document: object, data: st.DataObject, value: object) -> None:
        document = json.loads(json.dumps(document))
        place, key = document, None
        while (
            isinstance(place, dict | list) and place and (key is None or data.draw(st.booleans()))
        ):
            holder = place
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = data.draw(st.sampled_from(keys))
            place = holder[key]
        holder[key] = value
        path.write_bytes(as_json(document, Random(0)))
        assert verdict(reader, path) in FINE

    put()


@pytest.mark.parametrize("reader", READERS, ids=name)
def test_what_is_no_file_is_not_waited_for(reader: Reader, tmp_path: Path) -> None:
    path = tmp_path / reader.file
    for make in (os.mkfifo, os.mkdir, lambda at: at.write_bytes(b""), lambda at: at.symlink_to(at)):
        make(path)
        assert verdict(reader, path) in FINE
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()
