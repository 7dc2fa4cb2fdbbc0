"""Recipes: what files say, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from automl.errors import UsageError
from automl.recovery.recipe import RecoveryRecipe, read_recipe
from automl.recovery.terms.hints import Hints
from automl.recovery.terms.kd import KnowledgeDistillation

SHIPPED = sorted((Path(__file__).parents[2] / "search" / "recipes" / "recovery").glob("*.toml"))


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_says_all_of_it(tmp_path: Path) -> None:
    text = """
    epochs = 3
    learning_rate = 0.1
    ema = 0.99
    start = "scratch"
    [terms.kd]
    temperature = 2
    [terms.hints]
    local = true
    """
    found = read_recipe(written(tmp_path, text))
    assert found == RecoveryRecipe(
        ("kd:temperature=2", "hints:local=true"), 3, learning_rate=0.1, ema=0.99, start="scratch"
    )
    kd, hints = found.made_terms()
    assert isinstance(kd, KnowledgeDistillation)
    assert isinstance(hints, Hints)
    assert hints.local


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epoch = 3\n[terms.kd]", r"recipe.toml: unknown key 'epoch' \(did you mean epochs"),
        ("epochs = 0\n[terms.kd]", "epochs: .*greater than or equal to 1.*found 0"),
        ("epochs = 3", "terms is missing"),
        ("[terms.kdd]", r"recipe.toml: no term 'kdd' \(did you mean kd\?\)"),
        ("[terms.kd]\ntemprature = 2", r"option of term kd 'temprature' \(did you mean temp"),
        ("start = 'kep'\n[terms.kd]", r"no start 'kep' \(did you mean keep\?\)"),
        ("terms = [", "not TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_recipe(written(tmp_path, text))


def test_no_file_is_named_with_the_nearest(tmp_path: Path) -> None:
    written(tmp_path, "")
    with pytest.raises(UsageError, match=r"recipes.toml.*recipe.toml"):
        read_recipe(tmp_path / "recipes.toml")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_recipes_can_be_read(path: Path) -> None:
    assert read_recipe(path).epochs


def test_recipes_that_differ_have_other_digests() -> None:
    assert RecoveryRecipe().digest == RecoveryRecipe().digest
    assert (
        len(
            {
                RecoveryRecipe().digest,
                RecoveryRecipe(epochs=3).digest,
                RecoveryRecipe(("kd", "hints")).digest,
            }
        )
        == 3
    )
