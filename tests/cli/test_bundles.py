"""`automl pack` and `automl inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def test_a_run_is_packed_shown_and_refused_where_it_was_changed(automl: Any, folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"as it was")
    status, out, _ = automl("pack", ".", "-o", "small.zip")
    assert status == 0
    assert out.splitlines()[-1] == "Next: automl inspect small.zip"
    status, out, _ = automl("inspect", "small.zip")
    assert (status, "nothing says who packed it" in out) == (0, True)
    path = folder / "small.zip"
    path.write_bytes(path.read_bytes().replace(b"as it was", b"as it wos"))
    status, out, err = automl("inspect", "small.zip")
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert "model.onnx" in err
    status, _, err = automl("pack", "nowhere")
    assert (status, err) == (2, "automl: there is no run folder nowhere\n")
