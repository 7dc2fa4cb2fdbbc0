"""The page under real clicks and keys, in both colour schemes and on a phone's width.

Chromium is driven by its DevTools protocol, on 127.0.0.1.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_runs import make_run, make_sweep, policy, trial_line
from test_browser import QUIET

from automl.report import lowest_shown, read_log, write_report

client = pytest.importorskip("websockets.sync.client")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


class Page:
    """One page of a browser."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._numbers = socket, itertools.count(1)

    def call(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (answer := json.loads(self._socket.recv(60))).get("id") != number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def value(self, script: str) -> Any:
        """What an expression is, as JSON."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def open(self, path: Path) -> None:
        self.call("Page.navigate", url=path.as_uri())
        self.until(f"location.href === {json.dumps(path.as_uri())}")
        self.until("document.documentElement.dataset.drawn === 'all'")

    def until(self, script: str) -> None:
        deadline = time.monotonic() + 60
        while not self.value(script):
            assert time.monotonic() < deadline, script
            time.sleep(0.05)

    def click(self, x: float, y: float) -> None:
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
            time.sleep(0.1)  # plotly takes what is under the pointer a little later

    def press(self, key: str, code: int) -> None:
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code
            )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("browser")
    assert CHROMIUM is not None
    words = [CHROMIUM, *QUIET, f"--user-data-dir={folder}", "--remote-debugging-port=0"]
    browser = subprocess.Popen(
        [*words, "--window-size=1100,1400", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port = folder / "DevToolsActivePort"
        deadline = time.monotonic() + 60
        while not (port.is_file() and "\n" in port.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        address = f"http://127.0.0.1:{port.read_text().splitlines()[0]}/json"
        with urllib.request.urlopen(address) as answer:
            pages = [each for each in json.load(answer) if each["type"] == "page"]
        with client.connect(pages[0]["webSocketDebuggerUrl"], max_size=None) as socket:
            yield Page(socket)
    finally:
        browser.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            browser.wait(20)
        browser.kill()
        browser.wait()


PLACE = """(() => {
  const area = document.querySelectorAll(".chart")[1];
  area.scrollIntoView({ block: "center", behavior: "instant" });
  const box = area.getBoundingClientRect(), { xaxis, yaxis } = area._fullLayout;
  const front = area.data[1], at = front.x.length - 1;
  return [box.x + xaxis._offset + xaxis.d2p(front.x[at]),
    box.y + yaxis._offset + yaxis.d2p(front.y[at]), front.customdata[at]];
})()"""


def test_a_click_on_a_point_shows_its_layers(page: Page, tmp_path: Path) -> None:
    page.open(write_report([make_run(tmp_path / "run")]).path)
    assert page.value("document.querySelector('.detail').textContent") == ""
    x, y, number = page.value(PLACE)
    page.click(x, y)
    page.until("document.querySelector('.detail').textContent !== ''")
    shown = page.value("document.querySelector('.detail').innerText")
    assert shown.startswith(f"trial {number}: ")
    for part in ("b1", "l0", "l1", "l2"):
        assert part in shown


def test_the_budget_is_drawn_where_it_was_held(page: Page, tmp_path: Path) -> None:
    page.open(write_report([make_run(tmp_path / "run")]).path)
    drawn = "document.querySelectorAll('.chart')[1].layout.shapes.map((each) => each.x0)"
    assert page.value(drawn) == [5.3]  # not at the 5 ms that its text is rounded to
    page.open(write_report([make_run(tmp_path / "old", limits={})]).path)
    assert page.value(drawn) == []


AXIS = """(() => { const area = document.querySelectorAll(".chart")[1];
  return { range: area._fullLayout.yaxis.range, y: area.data[0].y,
    symbols: area.data[0].marker.symbol }; })()"""


def test_one_bad_trial_does_not_flatten_the_front(page: Page, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    bad = trial_line(12, random.Random(1)) | {"score": 0.1, "latency": 0.004}
    with (folder / "log.jsonl").open("a") as log:
        log.write(json.dumps(bad) + "\n")
    scores = [each.numbers["score"] for each in read_log(folder / "log.jsonl").trials]
    page.open(write_report([folder]).path)
    cut = page.value(AXIS)
    low, best = lowest_shown(scores), max(scores)
    assert low is not None
    assert cut["range"] == pytest.approx(
        [100 * (low - 0.05 * (best - low)), 100 * (best + 0.05 * (best - low))]
    )
    assert cut["range"][0] < cut["y"][-1] < 100 * low
    assert cut["symbols"][-1] == "triangle-down"
    assert set(cut["symbols"][:-1]) == {"circle"}
    said = page.value("document.querySelector('.cut').innerText")
    assert said.startswith("1 score is far lower and stands at the lower edge (▼).")
    page.value("document.querySelector('button.range').focus()")
    page.press(" ", 32)
    page.until(f"(() => {{ const found = {AXIS}; return found.range[0] < 10; }})()")
    whole = page.value(AXIS)
    assert whole["y"][-1] == pytest.approx(10.0)
    assert page.value("document.querySelector('button.range').ariaPressed") == "true"
    page.press(" ", 32)
    page.until(f"(() => {{ const found = {AXIS}; return found.range[0] > 50; }})()")


def test_an_axis_that_needs_no_cut_has_no_button(page: Page, tmp_path: Path) -> None:
    page.open(write_report([make_run(tmp_path / "run")]).path)
    assert page.value("document.querySelectorAll('button.range').length") == 0


FOCUSED = """(() => { const e = document.activeElement;
  return [e.tagName, e.className, e.innerText.slice(0, 40), e.matches(":focus-visible")]; })()"""


def test_keys_reach_all_in_order_and_choose_a_trial(page: Page, tmp_path: Path) -> None:
    page.open(write_report([make_run(tmp_path / "run")]).path)
    seen = []
    for _ in range(60):
        page.press("Tab", 9)
        tag, kind, text, visible = page.value(FOCUSED)
        if tag == "BODY":
            break
        seen.append((tag, kind, text))
        assert visible, (tag, text)
    assert seen[0] == ("A", "skip", "Skip to the content")
    assert [text for tag, _, text in seen if tag == "A"][1:3] == ["The answer", "The front"]
    assert any(tag == "SELECT" for tag, _, _ in seen)
    summaries = [text for tag, _, text in seen if tag == "SUMMARY"]
    figures = page.value("document.querySelectorAll('figure').length")
    assert summaries == ["The numbers as a table"] * figures
    page.value("document.querySelector('select').focus()")
    page.press("ArrowDown", 40)
    page.until("document.querySelector('.detail').textContent.startsWith('trial ')")


#: Opens what is closed, what that holds as well; true once nothing is.
OPENED = """(() => {
  const closed = [...document.querySelectorAll("details:not([open])")];
  closed.forEach((each) => { each.open = true; });
  return !closed.length;
})()"""
ORDER = """[...document.querySelectorAll("[tabindex]")]
  .filter((each) => Number(each.getAttribute("tabindex")) > 0).length"""
UNNAMED = """[...document.querySelectorAll(".chart, figure, table, select, input, section, nav")]
  .filter((e) => !(e.getAttribute("aria-label") || e.getAttribute("aria-labelledby")
    || e.querySelector("caption") || (e.labels && e.labels.length))).map((e) => e.outerHTML)"""
CONTRAST = """(() => {
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (e) => {
    for (let each = e; each; each = each.parentElement) {
      const found = parts(getComputedStyle(each).backgroundColor);
      if (found.length === 3 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const e of document.querySelectorAll("body *:not(script):not(style)")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || e.closest("svg") || !e.getClientRects().length) continue;
    const [a, b] = [light(parts(getComputedStyle(e).color)), light(behind(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push([ratio.toFixed(2), e.tagName, e.textContent.slice(0, 30)]);
  }
  return found;
})()"""


def open_whole(page: Page, folder: Path, scheme: str) -> None:
    """A page of a run and a sweep, all that is closed opened, in light or dark."""
    shown = [make_run(folder / "run"), make_sweep(folder / "sweep")]
    written = write_report(shown, folder / "all.html")
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.call("Emulation.setEmulatedMedia", features=features)
    page.open(written.path)
    page.until(OPENED)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_by_everybody(page: Page, tmp_path: Path, scheme: str) -> None:
    open_whole(page, tmp_path, scheme)
    assert page.value("document.querySelectorAll('table').length") > 10
    time.sleep(0.3)
    assert page.value(CONTRAST) == []
    assert page.value(UNNAMED) == []
    assert page.value(ORDER) == 0
    page.call("Emulation.setEmulatedMedia", features=[])


#: Of what is drawn in figures the contrast to the page: of texts, of marks (the better of outline
#: and area).
DRAWN = """(() => {
  const parts = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
  const paper = parts(getComputedStyle(document.body).backgroundColor);
  const over = (text, share, under) => {
    const found = parts(text);
    if (text === "none" || text.startsWith("url") || found.length < 3) return under;
    const solid = share * (found.length === 4 ? found[3] : 1);
    return [0, 1, 2].map((at) => solid * found[at] + (1 - solid) * under[at]);
  };
  const ratio = (one, other) => {
    const [a, b] = [light(one), light(other)];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  const look = (e) => {
    const { fill, stroke, fillOpacity, strokeOpacity, opacity } = getComputedStyle(e);
    return [over(fill, fillOpacity * opacity, paper), over(stroke, strokeOpacity * opacity, paper)];
  };
  const found = { texts: 0, marks: 0, faint: [] };
  for (const e of document.querySelectorAll(".chart svg text")) {
    if (!e.textContent.trim() || !e.getClientRects().length) continue;
    const bar = e.classList.contains("bartext-inside") ? e.parentNode.querySelector("path") : null;
    const seen = ratio(look(e)[0], bar ? look(bar)[0] : paper);
    found.texts += 1;
    if (seen < 4.5) found.faint.push([seen.toFixed(2), e.textContent]);
  }
  for (const e of document.querySelectorAll(".overplot path.point, .overplot .point path, "
      + ".overplot path.js-line, .shape-group path")) {
    const seen = Math.max(...look(e).map((each) => ratio(each, paper)));
    found.marks += 1;
    if (seen < 3) found.faint.push([seen.toFixed(2), e.parentNode.outerHTML.slice(0, 200)]);
  }
  return found;
})()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_drawn_stands_out(page: Page, tmp_path: Path, scheme: str) -> None:
    open_whole(page, tmp_path, scheme)
    page.until("!document.querySelector('.chart:not([data-drawn])')")
    found = page.value(DRAWN)
    page.call("Emulation.setEmulatedMedia", features=[])
    assert found["faint"] == []
    assert found["texts"] > 50
    assert found["marks"] > 30


def heard(page: Page) -> list[dict[str, Any]]:
    """What a screen reader is given: role, name, and level of headings, in order."""
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    by_id = {node["nodeId"]: node for node in nodes}
    found, waiting = [], [nodes[0]]
    while waiting:
        node = waiting.pop(0)
        waiting = [by_id[each] for each in node.get("childIds", []) if each in by_id] + waiting
        if node.get("ignored"):
            continue
        said = {each["name"]: each["value"].get("value") for each in node.get("properties", [])}
        name = node.get("name", {}).get("value", "")
        found.append({"role": node["role"]["value"], "name": name, "level": said.get("level")})
    return found


CONTROLS = {"button", "combobox", "searchbox", "textbox", "link", "DisclosureTriangle"}


@pytest.mark.parametrize("parts", ["run", "sweep", "both"])
def test_a_screen_reader_is_given_names_headings_and_tables(
    page: Page, tmp_path: Path, parts: str
) -> None:
    folders = [make_run(tmp_path / "run"), make_sweep(tmp_path / "sweep")]
    chosen = {"run": folders[:1], "sweep": folders[1:], "both": folders}[parts]
    page.open(write_report(chosen, tmp_path / "page.html").path)
    page.until(OPENED)
    page.until("!document.querySelector('.chart:not([data-drawn])')")
    nodes = heard(page)
    levels = [each["level"] for each in nodes if each["role"] == "heading"]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    figures = [each for each in nodes if each["role"] == "figure"]
    images = [each for each in nodes if each["role"] in ("image", "img")]
    assert len(figures) == len(images) == page.value("document.querySelectorAll('figure').length")
    assert all(len(each["name"]) > 20 for each in (*figures, *images))
    for role in CONTROLS | {"table", "region", "navigation", "main"}:
        unnamed = [each for each in nodes if each["role"] == role and not each["name"]]
        assert unnamed == [] or role == "main", role
    roles = {each["role"] for each in nodes}
    assert {"main", "table", "columnheader", "rowheader", "cell", "link"} <= roles
    assert "combobox" in roles
    assert ("searchbox" in roles) == (parts != "run")
    marked = {each["name"] for each in nodes if each["role"] == "StaticText"}
    assert not any("undefined" in each for each in marked)


def test_tables_say_what_figures_draw(page: Page, tmp_path: Path) -> None:
    page.open(write_report([make_run(tmp_path / "run")]).path)
    page.until(OPENED)
    rows = """[...document.querySelectorAll("figure")].map((figure) => [
      figure.querySelector("figcaption strong").textContent,
      figure.querySelector(".chart").data.map((each) => [...each.y].map(Number)),
      [...figure.querySelectorAll("table")].map((table) => [...table.tBodies[0].rows]
        .map((row) => [...row.cells].map((cell) => cell.textContent))),
    ])"""
    drawn = {title: (data, tables) for title, data, tables in page.value(rows)}
    assert all(tables and all(tables) for _, tables in drawn.values())
    data, (front, every) = drawn["The front"]
    assert [len(each) for each in data] == [len(every), len(front)]
    for values, table in zip(data, (every, front), strict=True):
        shown = [float(row[1].split()[0]) for row in table]
        assert shown == pytest.approx(values, abs=0.0051)
    channels, (layers,) = drawn["Channels by layer"]
    assert [[int(row[3].split()[at]) for row in layers] for at in (2, 0)] == channels
    latency, (prices,) = drawn["Latency by layer"]
    assert [[float(row[at].split()[0]) for row in prices] for at in (1, 2)] == latency


def test_it_fits_a_phone(page: Page, tmp_path: Path) -> None:
    page.call(
        "Emulation.setDeviceMetricsOverride",
        **{"width": 375, "height": 800, "deviceScaleFactor": 1, "mobile": True},
    )
    page.open(write_report([make_run(tmp_path / "run")]).path)
    assert page.value("document.scrollingElement.scrollWidth") <= 375
    page.call("Emulation.clearDeviceMetricsOverride")


def test_agents_are_told_apart_part_by_part(page: Page, tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "sweep")
    changed = policy(channels={"l0": {"dense": 16, "kept": 4}, "l1": {"dense": 16, "kept": 16}})
    (folder / "case-1" / "policy.json").write_text(json.dumps(changed | {"removed": []}))
    page.open(write_report([folder]).path)
    shown = page.value("document.querySelector('.detail').innerText")
    assert "2 of 4 parts differ" in shown
    assert "channels of l0" in shown
    assert "stays" in shown
    page.value("document.querySelector('select').focus()")
    page.press("ArrowDown", 40)
    page.until("document.querySelector('.detail').innerText.includes('0 of 4 parts differ')")
