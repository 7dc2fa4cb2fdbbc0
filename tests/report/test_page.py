"""One file that holds all it needs, whatever names are in its data."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from automl.errors import StudyError, UsageError
from automl.report import page

EVIL = "</script><script>alert(1)</script><!-- data --> &amp; \u2028"


def test_a_page_holds_its_data_and_plotly_once(tmp_path: Path) -> None:
    document = {"runs": [], "sweeps": [], "made": EVIL, "automl": "0"}
    size = page.write_page(document, EVIL, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert size == len(text.encode())
    found = re.search(r'<script id="data"[^>]*>(.*?)</script>', text, re.DOTALL)
    assert found is not None
    assert json.loads(found[1])["made"] == EVIL
    assert "<script>alert" not in text
    assert text.count("plotly.js v") == 1
    assert len(re.findall(r"</script>", text)) == 4


def test_nothing_is_asked_of_a_network() -> None:
    made = page.make_page({"runs": [], "sweeps": []}, "x")
    own = made.replace(page.plotly_script(), "")
    assert "default-src 'none'" in own
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", own)


def test_without_plotly_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match="plotly"):
        page.plotly_script()


def test_a_page_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="cannot be written"):
        page.write_page({"runs": [], "sweeps": []}, "x", tmp_path / "file" / "report.html")
