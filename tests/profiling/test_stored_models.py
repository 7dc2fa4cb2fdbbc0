"""Models that lie on disk until they are asked for."""

from __future__ import annotations

import pytest

from automl.profiling.stored_models import OneModel, StoredModels


def test_models_are_read_when_they_are_asked_for() -> None:
    with StoredModels() as models:
        models.put("dense", b"first")
        models.put("a/b", b"second")
        one = OneModel(models, "dense")
        assert (dict(models), len(models)) == ({"dense": b"first", "a/b": b"second"}, 2)
        models.put("dense", b"again")
        assert (list(one), one[0], one[:1], len(one)) == ([b"again"], b"again", (b"again",), 1)
        with pytest.raises(IndexError):
            one[1]


def test_the_files_go_with_the_context() -> None:
    with StoredModels() as models:
        models.put("dense", b"first")
    with pytest.raises(FileNotFoundError):
        models["dense"]
