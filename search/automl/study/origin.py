"""What driver and workers must have alike: our version, PyTorch's, and the user's own modules."""

from __future__ import annotations

import hashlib
import os
import site
import socket
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

import automl
from automl.errors import ClusterError
from automl.userdata import executed_files, load_file

#: Names of the program itself, which is another one in each process.
_PROGRAMS: Final = ("__main__", "__mp_main__")


@dataclass(frozen=True, slots=True)
class Origin:
    """What a process that scores was to be made of.

    Attributes:
        automl, torch: Versions.
        files: Of the user's files that were executed by path: the digest of each.
        modules: Of the user's modules that were imported by name: the digest of each.
        path: The folders that modules are imported from.
    """

    automl: str
    torch: str
    files: Mapping[str, str]
    modules: Mapping[str, str]
    path: tuple[str, ...]


def origin_here() -> Origin:
    """What this process has loaded."""
    files = executed_files()
    modules = {
        name: _digest(path) for name, path in _own_modules() if str(path.resolve()) not in files
    }
    path = tuple(os.path.abspath(place) for place in sys.path)
    return Origin(automl.__version__, str(torch.__version__), files, modules, path)


def check_versions(driver: Origin) -> None:
    """Check that the versions are the driver's.

    Raises:
        ClusterError: One is not; names it, this machine, and both versions.
    """
    here = {"automl": automl.__version__, "torch": str(torch.__version__)}
    for name, version in {"automl": driver.automl, "torch": driver.torch}.items():
        if here[name] != version:
            raise ClusterError(
                f"{socket.gethostname()} has {name} {here[name]} and the driver {version}: "
                "install one version on all machines"
            )


def load_files(driver: Origin) -> list[ClusterError]:
    """Execute the user's files as the driver has, so that what comes from them can be received.

    A driver may have executed files that its search has nothing of (those of a search before in
    one notebook). So what is wrong with a file says nothing until something of it is missed.

    Returns:
        Of each file that is missing, differs or cannot be imported: the error that names it.
    """
    here = {os.path.abspath(place) for place in sys.path}
    sys.path.extend(place for place in driver.path if place not in here and os.path.exists(place))
    wrong: list[ClusterError] = []
    for name, digest in driver.files.items():
        try:
            _load(name, digest)
        except ClusterError as error:
            wrong.append(error)
    return wrong


def _load(name: str, digest: str) -> None:
    if not os.path.isfile(name):
        raise ClusterError(
            f"{socket.gethostname()} has no {name}: "
            "put it there, or into a folder that all machines share"
        )
    _compare(name, _digest(Path(name)), digest)
    load_file(Path(name), ClusterError)


def check_modules(driver: Origin) -> None:
    """Check the user's modules that this process has imported meanwhile.

    Raises:
        ClusterError: One differs from the driver's; names it.
    """
    for name, path in _own_modules():
        if name in driver.modules:
            _compare(str(path), _digest(path), driver.modules[name])


def _compare(name: str, found: str, wanted: str) -> None:
    if found != wanted:
        raise ClusterError(
            f"{socket.gethostname()} has another {name} than the driver: its digest is "
            f"{found[:12]}, there {wanted[:12]}"
        )


def _own_modules() -> Iterator[tuple[str, Path]]:
    """Imported modules that are neither Python's, nor an installed package's, nor ours."""
    installed = list(_installed())
    for name, module in list(sys.modules.items()):
        file: Any = getattr(module, "__file__", None)
        if name in _PROGRAMS or name.partition(".")[0] == "automl" or not file:
            continue
        path = Path(file)
        inside = any(path.is_relative_to(place) for place in installed)
        if path.suffix == ".py" and not inside and os.path.isfile(path):
            yield name, path


def _installed() -> Iterator[Path]:
    """Where Python and packages are, those that pip was told to put apart among them."""
    yield from map(Path, {*sysconfig.get_paths().values(), site.getusersitepackages()})
    for place in map(Path, sys.path):
        if any(place.glob("*.dist-info")):
            yield place


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
