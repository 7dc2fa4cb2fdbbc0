"""What several commands share beside the flags that are made from options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PolicyPath = Annotated[Path, typer.Argument(metavar="POLICY", help="A policy JSON.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
