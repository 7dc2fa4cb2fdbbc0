"""The notebook of the documents runs, and what it shows is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.filterwarnings("ignore")


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = nbformat.read(ROOT / "docs" / "notebook.ipynb", as_version=4)
    nbformat.validate(found)
    assert all(not cell.get("outputs") for cell in found.cells)  # kept out of the repository
    paths = [str(ROOT / "search"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    client = nbclient.NotebookClient(
        found, timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = [cell.outputs for cell in found.cells if cell.cell_type == "code"]
    _, searched, plotted, policy, called = outputs
    shown = [data for each in searched if (data := each.get("data"))]
    assert any("application/vnd.jupyter.widget-view+json" in each for each in shown)  # the bar
    assert "<caption>Sequential: " in searched[-1]["data"]["text/html"]
    figure = plotted[-1]["data"]["application/vnd.plotly.v1+json"]
    assert {each["name"] for each in figure["data"]} == {"trials", "front"}
    assert "What it chooses" in policy[-1]["data"]["text/html"]
    assert "tensor" in called[-1]["data"]["text/plain"]
    assert list((tmp_path / "runs").glob("*/report.html"))
