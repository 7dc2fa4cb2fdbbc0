"""automl.toml: its keys, its mistakes, and flags that win."""

from __future__ import annotations

from pathlib import Path

import pytest

from automl.errors import OptionError, UsageError
from automl.options.declare import options_of
from automl.options.search import SearchOptions, TaskOptions
from automl.userdata.settings import Settings, read_settings

OPTIONS = {each.name: each for owner in (TaskOptions, SearchOptions) for each in options_of(owner)}


def write(folder: Path, text: str) -> Path:
    (folder / "automl.toml").write_text(text)
    return folder


def with_flags(settings: Settings, **flags: str) -> Settings:
    return settings.with_flags({OPTIONS[name]: value for name, value in flags.items()})


def test_no_file_is_no_setting(tmp_path: Path) -> None:
    assert read_settings(tmp_path) == Settings()


def test_paths_start_at_the_file(tmp_path: Path) -> None:
    write(tmp_path, 'model = "nets.py:small"\nweights = "w.pt"\ndata = "pkg.data:loaders"\n')
    settings = read_settings(tmp_path)
    assert settings.get("model") == f"{tmp_path}/nets.py:small"
    assert settings.get("weights") == tmp_path / "w.pt"
    assert settings.get("data") == "pkg.data:loaders"


def test_data_on_disk_starts_at_the_file_too(tmp_path: Path) -> None:
    for written, found in (
        ("folder:photos?size=8", f"folder:{tmp_path}/photos?size=8"),
        ("folder:/photos", "folder:/photos"),
        ("digits.npz?mean=0.5", f"{tmp_path}/digits.npz?mean=0.5"),
    ):
        assert read_settings(write(tmp_path, f'data = "{written}"')).get("data") == found


def test_one_budget_or_several(tmp_path: Path) -> None:
    assert read_settings(write(tmp_path, 'budget = "50%"')).get("budget") == ("50%",)
    several = read_settings(write(tmp_path, 'budget = ["5ms", "4MB"]'))
    assert several.get("budget") == ("5ms", "4MB")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            'modle = "a"',
            r"automl.toml line 1: unknown key 'modle' \(did you mean model or example\?\)",
        ),
        ("\ntrials = 0", r"automl.toml line 2: trials: expected a whole number .*, found 0$"),
        ('trials = "3"', r"automl.toml line 1: trials: expected a whole number .*, found '3'$"),
        ("trials = x", r"automl.toml: .*line 1"),
        (
            'score = """\ntrials = 1\n"""\nbudget = [\n"50%",\n]\n"trials" = 1.5',
            r"automl.toml line 7: trials: .* found 1.5$",
        ),
        ("[trials]\nof = 3", r"automl.toml line 1: trials: .* found \{'of': 3\}"),
        ("seed.of = 3", r"automl.toml line 1: seed: .* found \{'of': 3\}"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        read_settings(write(tmp_path, text))


def test_flags_win() -> None:
    settings = Settings({"target": "rpi4", "seed": 3})
    assert with_flags(settings, target="cpu").get("target") == "cpu"
    assert with_flags(settings, target="cpu").get("seed") == 3
    assert with_flags(settings, seed="0").get("seed") == 0
    assert settings.get("threads") == 1


def test_weights_of_the_file_are_not_those_of_another_model() -> None:
    settings = Settings({"model": "a:b", "weights": Path("w.pt")})
    assert with_flags(settings, model="c:d").get("weights") is None
    assert with_flags(settings, model="c:d", weights="v.pt").get("weights") == Path("v.pt")


def test_values_that_exclude_each_other_name_where_they_were_given(tmp_path: Path) -> None:
    settings = read_settings(write(tmp_path, 'target = "cpu"\nbudget = "4MB"\nmeasure = true'))
    with pytest.raises(OptionError, match=r"^automl.toml line 3: measure: needs a budget of time"):
        settings.make(SearchOptions)
    with pytest.raises(OptionError, match=r"^--ssh: a search needs a board only where it measures"):
        Settings({"target": "cpu", "budget": "5ms", "ssh": ("me@board",)}, {"ssh": "--ssh"}).make(
            SearchOptions
        )
