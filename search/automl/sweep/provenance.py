"""What driver and workers must have alike: our own version, and the files that a case names."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import automl
from automl.errors import ClusterError, Raised, attempt
from automl.sweep.recipe import Case


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a case was to be made of, as the driver has it.

    Attributes:
        version: Of automl.
        digests: Of each file that the case names, by what names it.
    """

    version: str
    digests: Mapping[str, str]


def provenance_of(case: Case) -> Provenance:
    """What this process has of a case; what is not there has the digest ""."""
    values = case.values
    named = [
        spec.rpartition(":")[0] for key in ("model", "data", "score") if (spec := values.get(key))
    ]
    named += [str(values["weights"])] if values.get("weights") else []
    target = str(values.get("target", ""))
    named += [target] if target.endswith(".jsonl") else []
    return Provenance(automl.__version__, {name: _digest(name) for name in named if name})


def check_provenance(case: Case, driver: Provenance) -> None:
    """Check that this process has what the driver has.

    Raises:
        ClusterError: Another version of automl, or a file that is missing or differs; names it.
    """
    here, host = provenance_of(case), socket.gethostname()
    if here.version != driver.version:
        raise ClusterError(
            f"{host} has automl {here.version} and the driver {driver.version}: "
            "install one version on all machines"
        )
    for name, digest in driver.digests.items():
        found = here.digests.get(name, "")
        if not found and digest:
            raise ClusterError(f"{host} has no {name}: put it there, or on a folder that all share")
        if found != digest:
            raise ClusterError(
                f"{host} has another {name} than the driver: "
                f"its digest is {found[:12]}, there {digest[:12]}"
            )


def _digest(name: str) -> str:
    """Hash of a file, or of a module's; "" where there is none."""
    path = Path(name) if "/" in name or name.endswith((".py", ".jsonl")) else _source(name)
    if path is None or not os.path.isfile(path):
        return ""
    content = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            content.update(block)
    return content.hexdigest()


def _source(module: str) -> Path | None:
    found: Any = attempt(lambda: find_spec(module))
    if found is None or isinstance(found, Raised) or found.origin is None:
        return None
    return Path(found.origin)
