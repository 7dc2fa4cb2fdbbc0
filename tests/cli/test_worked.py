"""`automl examples` lists what there is, and copies one with what to do next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def test_the_list_has_a_line_each(automl: Any) -> None:
    status, out, err = automl("examples")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["detector", "timm", "vit"]
    assert max(map(len, lines)) <= 80
    assert lines[-1] == "Next: automl examples detector"
    found = json.loads(automl("examples", "--json")[1])
    assert [each["name"] for each in found] == ["detector", "timm", "vit"]


def test_one_is_copied_and_its_commands_are_said(automl: Any, folder: Path) -> None:
    status, out, _ = automl("examples", "vit", "my own")
    assert status == 0
    assert "  my own/train.py\n" in out
    assert out.endswith("Next: cd 'my own' && python train.py && automl search\n")
    assert (folder / "my own" / "automl.toml").is_file()
    status, out, _ = automl("examples", "timm", "--json")
    assert json.loads(out)["name"] == "timm"
    assert (folder / "timm" / "model.py").is_file()


def test_a_wrong_name_and_a_folder_that_is_taken_are_told(automl: Any) -> None:
    assert automl("examples", "vitt") == (
        2,
        "",
        "automl: no example 'vitt' (did you mean vit?)\n",
    )
    assert automl("examples", "vit")[0] == 0
    status, _, err = automl("examples", "vit")
    assert (status, err) == (
        2,
        "automl: vit is there already and not an empty folder: it is kept\n",
    )
