"""`automl pack` and `automl inspect`: a model as it is handed over."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automl.cli.flags import Json

if TYPE_CHECKING:
    from automl.pipeline import Packed

#: What a card tells to make the model again.
_AGAIN = tuple(
    f"automl {what} policy.json --model FILE.py:NAME --data FILE.py:NAME{rest}"
    for what, rest in (("apply", " --export model.onnx"), ("verify", ""))
)
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a search that is done.")]
BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="What automl pack wrote.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="FILE", help="The bundle. [default: model.zip in RUN]"),
]


def pack(run: RunPath, out: Out = None, json: Json = False) -> None:
    """Pack a run's files with a model card and their checksums."""
    from automl import pipeline
    from automl.cli import render, resolve

    packed = pipeline.pack(run, out, _AGAIN)
    if json:
        render.print_json(packed)
        return
    render.say(f"packed   {packed.path}")
    _print_files(packed)
    if "model.py" not in packed.manifest.files and not packed.policy.bits:
        flags = resolve.flags_for(packed.policy.model.name)
        words = ("automl", "apply", run / "policy.json", *flags, "--export", run / "model.py")
        render.say(f"note: without Python source, which {resolve.command(*words)} writes")
    render.say_next(resolve.command("automl", "inspect", packed.path))


def inspect(bundle: BundlePath, json: Json = False) -> None:
    """Check a bundle, every byte of it, and show its model card."""
    from automl import pipeline
    from automl.cli import render

    found = pipeline.inspect(bundle)
    if json:
        render.print_json(found)
        return
    for line in found.card.rstrip("\n").split("\n"):
        render.say(line)
    render.say("")
    _print_files(found)
    render.say("Every file is what the manifest says (SHA-256); nothing says who packed it.")


def _print_files(packed: Packed) -> None:
    from automl.cli import render

    rows = [
        (name, f"{each.bytes:,}", each.sha256[:16]) for name, each in packed.manifest.files.items()
    ]
    render.print_table(("file", "bytes", "SHA-256 begins"), rows)
