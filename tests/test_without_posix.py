"""What is not there on Windows is not needed to import the program, nor for a predicted search."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

#: Takes away what Windows lacks, then does what the rest of the line says.
WITHOUT = """
import contextlib, importlib, os, pkgutil, signal, sys, types, warnings
import numpy, onnx, onnxruntime, optuna, pydantic, sqlalchemy, torch, torch.onnx, typer
with contextlib.suppress(ImportError):
    import ray, ray.tune  # as it is installed on Linux
MODULES = "fcntl", "grp", "pwd", "resource", "termios", "tty", "pty"
SYSTEM = (
    "getuid", "geteuid", "getgid", "getpgid", "killpg", "setsid", "fork", "uname", "getloadavg",
    "sched_getaffinity", "sched_setaffinity", "statvfs", "fchmod", "chown", "nice",
    "O_NONBLOCK", "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "WNOHANG", "mkfifo", "wait",
)
SIGNALS = (
    "SIGHUP", "SIGALRM", "SIGKILL", "SIGPROF", "SIGUSR1", "SIGCHLD", "SIGPIPE", "SIGQUIT", "alarm",
    "setitimer", "getitimer", "ITIMER_REAL", "pthread_sigmask", "sigwait", "pause", "siginterrupt",
)
for name in MODULES:
    sys.modules[name] = None
for owner, names in ((os, SYSTEM), (signal, SIGNALS)):
    for name in names:
        if hasattr(owner, name):
            delattr(owner, name)
kill = os.kill
def no_kill(number, what):
    ours = sys._getframe(1).f_globals["__name__"].startswith("automl")
    assert what or not ours, "a signal 0 is Ctrl-C on Windows"
    kill(number, what)
os.kill = no_kill
open_ = os.open
def no_folders(path, *more, **named):
    ours = sys._getframe(1).f_globals["__name__"].startswith("automl")
    if ours and os.path.isdir(path):
        raise PermissionError(13, "Permission denied", path)
    return open_(path, *more, **named)
os.open = no_folders
for name in [each for each in sys.modules if each.partition(".")[0] == "filelock"]:
    del sys.modules[name]  # it chooses its lock when it is imported
warnings.simplefilter("ignore")  # filelock's, that it has no locks of the kernel here
import automl.files, automl.heap, automl.profiling.pipe
automl.heap.sys = types.SimpleNamespace(platform="win32")
automl.files._ASKS = automl.profiling.pipe._WAITS = False
"""


def run(lines: str, *words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT + lines, *words],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder)},  # it would remove folders whose locks it lacks
        capture_output=True,
        text=True,
        check=False,
    )


EVERYTHING = """
import automl
boards = {"worker", "worker_products", "worker_state", "worker_tensorrt"}
for found in pkgutil.walk_packages(automl.__path__, "automl."):
    if found.name.rpartition(".")[2] not in boards | {"__main__"}:
        importlib.import_module(found.name)
print(len(sys.modules))
"""


def test_everything_is_imported(tmp_path: Path) -> None:
    done = run(EVERYTHING, folder=tmp_path)
    assert done.returncode == 0, done.stderr


FOLDERS = """
import tempfile
from pathlib import Path
from automl.documents import read_text
from automl.errors import LockedError, UsageError
from automl.files import common_folder, is_locked, locked, scratch_folder, write_whole
tempfile.tempdir = os.getcwd()
here = Path.cwd()
write_whole(here / "a" / "b.txt", "old")
left = here / "a" / ".b.txt.host.1.automl"
write_whole(here / "a" / "b.txt", "new")
assert read_text(here / "a" / "b.txt", UsageError) == "new"
assert [each.name for each in (here / "a").iterdir()] == ["b.txt"]
try:
    read_text(here / "a", UsageError)
except UsageError as error:
    assert "it is a folder" in str(error), error
else:
    raise AssertionError
with locked(here / "a"):
    assert is_locked(here / "a")
assert not is_locked(here / "a")
with scratch_folder() as first, scratch_folder() as second, common_folder("c") as shared:
    (first / "x").write_text("x")
    (shared / "y").write_text("y")
    with common_folder("c") as again:
        assert again == shared
    assert (shared / "y").exists(), "it goes with the last that uses it"
    with common_folder("d"):
        assert first.exists() and second.exists() and shared.exists()
assert not [each for each in here.iterdir() if each.name.startswith("automl")]
"""


def test_files_and_folders_are_owned_all_the_same(tmp_path: Path) -> None:
    done = run(FOLDERS, folder=tmp_path)
    assert done.returncode == 0, done.stderr


COMMAND = """
from automl.cli.main import run
sys.argv = ["automl", *sys.argv[1:]]
run()
"""


def test_a_search_on_a_fitted_board_ends_with_a_policy(tmp_path: Path) -> None:
    tiny = ROOT / "tests" / "pipeline" / "tiny.py"
    words = (
        "--model",
        f"{tiny}:model",
        "--data",
        f"{tiny}:loaders",
        "--score",
        f"{tiny}:agreement",
    )
    search = ("--target", "rpi4", "--budget", "60%", "--trials", "3", "--out", "run")
    done = run(COMMAND, "search", *words, *search, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "policy.json").is_file()
    assert (tmp_path / "run" / "model.onnx").is_file()


def test_measuring_is_refused_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "ops.json").write_text('[{"op": "linear", "in_channels": 8, "out_channels": 8}]')
    words = ("profile", "--ops", "ops.json", "--target", str(tmp_path / "mine.jsonl"))
    done = run(COMMAND, *words, folder=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "nothing can be measured from Windows" in done.stderr
