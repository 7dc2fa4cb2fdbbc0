"""`automl methods`: ours, another package's, and one that fails to load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from automl.methods import REGISTRIES, registry

ROOT = Path(__file__).resolve().parents[2]
SOURCE = '''
"""What another package adds."""


class Mine:
    """Chooses as its author does.

    And more, which is not listed.
    """

    def __init__(self, problem, seed=0):
        self.problem = problem
'''


def automl(*words: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, with a folder of packages beside ours."""
    places = [str(ROOT / "search"), *([] if path is None else [str(path)])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
    return subprocess.run(
        [sys.executable, "-m", "automl", *words],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


@pytest.fixture
def added(tmp_path: Path) -> Path:
    """An installed distribution with one agent that works and two methods that do not load."""
    (tmp_path / "added_methods.py").write_text(SOURCE)
    information = tmp_path / "added_methods-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: added-methods\nVersion: 1.0\n"
    )
    (information / "entry_points.txt").write_text(
        "[automl.agents]\nmine = added_methods:Mine\nlost = added_methods:Lost\n"
        "[automl.runtimes]\nabsent = added_methods.absent:row\n"
    )
    return tmp_path


def test_all_kinds_are_listed_with_what_other_packages_add(added: Path) -> None:
    done = automl("methods", path=added)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert {f"{kind}:" for kind in REGISTRIES} <= set(lines)
    assert {name for kind in REGISTRIES for name in registry(kind).ours} <= set(lines)
    place = lines.index("mine")
    assert lines[place + 1] == "    Chooses as its author does."
    assert "    added by added-methods" in lines[place:]
    assert max(len(line) for line in lines if "Error: " not in line) <= 80


def test_one_that_fails_to_load_is_named_with_its_package_and_the_rest_goes_on(
    added: Path,
) -> None:
    listed = automl("methods", "--json", path=added)
    found = {
        method["name"]: method for each in json.loads(listed.stdout).values() for method in each
    }
    assert found["lost"]["package"] == found["absent"]["package"] == "added-methods"
    assert "Lost" in found["lost"]["fault"]
    assert found["absent"]["fault"].startswith("ModuleNotFoundError")
    assert not found["mine"]["fault"]
    lines = automl("methods", path=added).stdout.splitlines()
    for name in ("lost", "absent"):
        place = lines.index(name)
        assert lines[place + 1] == "    cannot be used: added-methods fails to load it"
    assert "random" in lines


def test_a_kind_alone_and_agents_are_the_same_list(added: Path) -> None:
    of_kind = automl("methods", "agents", "--json", path=added)
    assert of_kind.stdout == automl("agents", "--json", path=added).stdout
    names = [method["name"] for method in json.loads(of_kind.stdout)]
    assert names == [*registry("agents").ours, "lost", "mine"]


def test_an_unknown_kind_is_answered_with_the_nearest() -> None:
    done = automl("methods", "agent")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "automl: no kind of methods 'agent' (did you mean agents?)\n"


def test_the_page_of_methods_is_what_the_registries_say() -> None:
    written = automl("methods", "--markdown").stdout
    page = ROOT / "docs" / "methods.md"
    assert page.read_text(encoding="utf-8") == written, (
        "automl methods --markdown > docs/methods.md"
    )


def test_the_page_holds_our_own_alone(added: Path) -> None:
    assert (
        automl("methods", "--markdown", path=added).stdout == automl("methods", "--markdown").stdout
    )


def test_the_methods_of_the_field_are_listed_with_their_state() -> None:
    found = json.loads(automl("methods", "field", "--json").stdout)
    assert [method["number"] for method in found] == [*range(1, 105)]
    states = {method["name"]: method["state"] for method in found}
    assert states["SVD / low-rank (Denton)"] == "works"
    assert states["Runtime Neural Pruning"] == "cannot"
    lines = automl("methods", "field").stdout.splitlines()
    place = lines.index("38. Runtime Neural Pruning: cannot")
    assert lines[place + 1] == "    2017 NIPS"
    assert "static latency" in lines[place + 2]
    every = automl("methods").stdout.splitlines()
    assert {"field:", "38. Runtime Neural Pruning: cannot"} <= set(every)
