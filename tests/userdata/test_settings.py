"""automl.toml: its keys, its mistakes, and flags that win."""

from __future__ import annotations

from pathlib import Path

import pytest

from automl.errors import UsageError
from automl.userdata.settings import Settings, read_settings, with_flags


def write(folder: Path, text: str) -> Path:
    (folder / "automl.toml").write_text(text)
    return folder


def test_no_file_is_no_setting(tmp_path: Path) -> None:
    assert read_settings(tmp_path) == Settings()


def test_paths_start_at_the_file(tmp_path: Path) -> None:
    write(tmp_path, 'model = "nets.py:small"\nweights = "w.pt"\ndata = "pkg.data:loaders"\n')
    settings = read_settings(tmp_path)
    assert settings.model == f"{tmp_path}/nets.py:small"
    assert settings.weights == str(tmp_path / "w.pt")
    assert settings.data == "pkg.data:loaders"


def test_one_budget_or_several(tmp_path: Path) -> None:
    assert read_settings(write(tmp_path, 'budget = "50%"')).budget == ["50%"]
    assert read_settings(write(tmp_path, 'budget = ["5ms", "4MB"]')).budget == ["5ms", "4MB"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('modle = "a"', r"automl.toml: unknown key 'modle' \(did you mean model\?\)"),
        ("trials = 0", r"automl.toml: trials: .*greater than 0, found 0"),
        ('trials = "3"', r"automl.toml: trials: .*valid integer, found '3'"),
        ("trials = x", r"automl.toml: .*line 1"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        read_settings(write(tmp_path, text))


def test_flags_win() -> None:
    settings = Settings(target="rpi4", seed=3, model="a:b", weights="w.pt")
    assert with_flags(settings, target="cpu", seed=None).target == "cpu"
    assert with_flags(settings, target="cpu", seed=None).seed == 3
    assert with_flags(settings, seed=0).seed == 0


def test_weights_of_the_file_are_not_those_of_another_model() -> None:
    settings = Settings(model="a:b", weights="w.pt")
    assert with_flags(settings, model="c:d").weights is None
    assert with_flags(settings, model="c:d", weights=Path("v.pt")).weights == Path("v.pt")
