"""No home, no rights, others' folders, no room: one line, status 2, and nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from tiny import write_table

ROOT = Path(__file__).resolve().parents[1]
TINY = ROOT / "tests" / "pipeline" / "tiny.py"
OPERATORS = [{"op": "linear", "in_channels": 8, "out_channels": 8}]
#: A user whom the system does not know, and who owns nothing.
STRANGER = ("setpriv", "--reuid=54321", "--regid=54321", "--clear-groups")
#: The command, which waits for room for a moment alone.
COMMAND = """
import sys
sys.argv[0] = "automl"
import automl.study.waiting as waiting
waiting.FULL_SECONDS = 0.5
from automl.cli.main import run
run()
"""
#: Scores as `tiny.agreement` does; the third candidate leaves no room on the disk.
FILLING = """
import tiny
calls = []

def loaders():
    return tiny.loaders()

def model():
    return tiny.model()

def score(network, data):
    calls.append(1)
    if len(calls) == 4:
        with open("run/filling", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1024))
            except OSError:
                pass
    return tiny.agreement(network, data)
"""


def automl(
    words: Sequence[str], folder: Path, before: Sequence[str] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """The command in a folder, in an environment that has nothing of ours."""
    path = os.pathsep.join([str(ROOT / "search"), str(TINY.parent)])
    return subprocess.run(
        [*before, sys.executable, "-c", COMMAND, *words],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """What the command says of a place that it cannot use."""
    assert done.returncode == 2, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("automl: ")]
    assert len(said) == 1
    assert done.stderr.splitlines()[-1] == said[0]
    assert "unexpected" not in said[0]
    assert done.stdout == ""
    return said[0]


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skips where nobody else can run our Python: only root can be somebody else."""
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can be somebody else")
    words = [*STRANGER, sys.executable, "-c", "import automl.cli.main, numpy"]
    path = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "search")}
    if subprocess.run(words, env=path, cwd="/", check=False).returncode:
        pytest.skip("the Python of this environment is readable for its owner alone")


@pytest.fixture
def open_folder(tmp_path: Path) -> Path:
    """A folder that anybody may write to, with what the commands read."""
    for path in (tmp_path, *tmp_path.parents):
        if path.owner() == "root" and path.stat().st_mode & 0o001 == 0:
            path.chmod(path.stat().st_mode | 0o055)
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "ops.json").write_text(json.dumps(OPERATORS))
    return folder


def profile(name: str = "mine") -> list[str]:
    return ["profile", "--target", name, "--ops", "ops.json"]


def search(target: str, out: str = "run") -> list[str]:
    task = ["--model", f"{TINY}:model", "--data", f"{TINY}:loaders", "--score", f"{TINY}:agreement"]
    more = ["--round-to", "4", "--resolutions", "16", "--trials", "2", "--agent", "random"]
    return ["search", *task, "--target", target, "--budget", "60%", *more, "--out", out]


@pytest.mark.usefixtures("stranger")
@pytest.mark.parametrize("words", [profile(), search("cpu")], ids=["profile", "search"])
def test_without_a_home_it_is_said_where_tables_can_go(words: list[str], open_folder: Path) -> None:
    said = one_line(automl(words, open_folder, STRANGER))
    assert said == (
        "automl: there is no home folder for tables: set AUTOML_HOME to a folder for them"
    )
    assert {path.name for path in open_folder.iterdir()} == {"ops.json"}


@pytest.mark.usefixtures("stranger")
def test_without_a_home_shipped_tables_are_there(open_folder: Path) -> None:
    done = automl(["targets"], open_folder, STRANGER)
    assert done.returncode == 0, done.stderr
    assert "a03s-large" in done.stdout


@pytest.mark.usefixtures("stranger")
@pytest.mark.parametrize(
    ("words", "mode"),
    [(profile(), 0o700), (search("cpu"), 0o700), (search("cpu"), 0o755)],
    ids=["profile, closed", "search, closed", "search, read only"],
)
def test_tables_of_another_user_are_named(words: list[str], mode: int, open_folder: Path) -> None:
    home = open_folder / "home"
    (home / "tables").mkdir(parents=True)
    home.chmod(mode)
    said = one_line(automl(words, open_folder, STRANGER, AUTOML_HOME=str(home)))
    assert str(home) in said
    assert "Permission denied" in said
    assert not [*(home / "tables").iterdir()]


@pytest.mark.usefixtures("stranger")
def test_a_run_folder_of_another_user_is_named(open_folder: Path) -> None:
    board = write_table(open_folder / "board.jsonl")
    theirs = open_folder / "theirs"
    theirs.mkdir()
    done = automl(search(str(board), "theirs/run"), open_folder, STRANGER)
    said = "automl: the run folder theirs/run cannot be written: Permission denied (--out)"
    assert one_line(done) == said
    assert not [*theirs.iterdir()]


@pytest.mark.usefixtures("stranger")
def test_temporary_files_of_another_user_are_no_place(open_folder: Path) -> None:
    board = write_table(open_folder / "board.jsonl")
    # Python takes any of these for its temporary files, and the working folder after them.
    place = open_folder / "temporary"
    place.mkdir()
    place.chmod(0o755)
    script = f"import tempfile; tempfile.tempdir = {str(place)!r}\n{COMMAND}"
    done = subprocess.run(
        [*STRANGER, sys.executable, "-c", script, *search(str(board))],
        cwd=open_folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "search")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Permission denied" in one_line(done)
    assert str(place) in done.stderr


def tiny_disk(folder: Path, kilobytes: int) -> list[str]:
    """What runs a command with a disk of that size on a folder, which it alone sees.

    Skips the test where the kernel lets nobody mount one.
    """
    mount = f'mount -t tmpfs -o size={kilobytes}k none "{folder}" && exec "$@"'
    before = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]
    if shutil.which("unshare") is None or subprocess.run([*before, "true"], check=False).returncode:
        pytest.skip("no disk can be mounted here")
    return before


def test_a_search_whose_disk_is_full_ends_soon_and_says_what_was_best(tmp_path: Path) -> None:
    board = write_table(tmp_path / "board.jsonl")
    (tmp_path / "filling.py").write_text(FILLING)
    (tmp_path / "run").mkdir()
    before = tiny_disk(tmp_path / "run", 600)
    words = ["search", "--model", "filling.py:model", "--data", "filling.py:loaders"]
    words += ["--score", "filling.py:score", "--target", str(board), "--budget", "80%"]
    words += ["--round-to", "4", "--resolutions", "16", "--agent", "random", "--full-scores"]
    said = one_line(automl([*words, "--trials", "20", "--out", "run/a"], tmp_path, before))
    assert "study storage sqlite:///run/a/study.db has no room: " in said
    assert "; the best so far scores " in said
    assert said.endswith(": run/a/policy.json (--resume)")


@pytest.mark.parametrize("kilobytes", [4, 100])
def test_a_search_that_has_no_room_at_all_is_one_line(tmp_path: Path, kilobytes: int) -> None:
    board = write_table(tmp_path / "board.jsonl")
    (tmp_path / "disk").mkdir()
    before = tiny_disk(tmp_path / "disk", kilobytes)
    said = one_line(automl(search(str(board), "disk/run"), tmp_path, before))
    assert "disk/run" in said


def test_no_room_for_temporary_files_is_one_line(tmp_path: Path) -> None:
    board = write_table(tmp_path / "board.jsonl")
    (tmp_path / "disk").mkdir()
    before = tiny_disk(tmp_path / "disk", 8)
    done = automl(search(str(board)), tmp_path, before, TMPDIR=str(tmp_path / "disk"))
    said = one_line(done)
    assert "No space left on device" in said
    assert str(tmp_path / "disk") in said


def test_a_table_whose_disk_is_full_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "ops.json").write_text(json.dumps(OPERATORS))
    before = tiny_disk(tmp_path / "home", 4)
    said = one_line(automl(profile(), tmp_path, before, AUTOML_HOME=str(tmp_path / "home")))
    assert "No space left on device" in said
