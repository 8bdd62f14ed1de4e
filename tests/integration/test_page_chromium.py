"""The pages in a real browser: nothing blocked, nothing cut off, readable in light and dark, on phone and wide screen."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import json
import math
import os
import select
import shutil
import struct
import subprocess
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from aiops.export.server import WebServer, bind
from aiops.model import Labels, Sight
from tests.integration.conftest import require_program
from tests.sample_incident import FIRST_BAD_S, REPLICAS, SERVICE, sample_incident, sample_undetermined
from tests.unit.export.conftest import Site

pytestmark = pytest.mark.external_service

OPEN = f"/incidents/{sample_incident().id}"
UNDETERMINED = f"/incidents/{sample_undetermined().id}"
NOW_S = FIRST_BAD_S + 120


class Browser:
    """Headless Chromium over its debugging pipe: no port, no driver, no script of ours on the page."""

    def __init__(self, program: str, profile: str) -> None:
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        # the browser expects descriptors 3 and 4; high numbers first, so that neither overwrites the other
        ends = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (to_browser, from_browser)]
        flags = [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", f"--user-data-dir={profile}",
            "--remote-debugging-pipe", "about:blank",
        ]  # fmt: skip
        launch = f'exec "$@" 3<&{ends[0]} 4>&{ends[1]}'
        self._process = subprocess.Popen(
            ["bash", "-c", launch, "bash", program, *flags],
            pass_fds=ends, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for fd in (to_browser, from_browser, *ends):
            os.close(fd)
        self._received = b""
        self._next_id = 0
        self._session = ""
        self.events: list[dict[str, Any]] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """One command, and its answer."""
        self._next_id += 1
        command: dict[str, Any] = {"id": self._next_id, "method": method, "params": params}
        if self._session:
            command["sessionId"] = self._session
        os.write(self._write, json.dumps(command).encode() + b"\0")
        while True:
            message = self._message()
            if message.get("id") == self._next_id:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def wait_for(self, method: str) -> None:
        """Until an event called *method* has come since the last `open`."""
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self._message())

    def _message(self, deadline_s: float = 30.0) -> dict[str, Any]:
        until_s = time.monotonic() + deadline_s
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._read], [], [], max(0.0, until_s - time.monotonic()))
            chunk = os.read(self._read, 1 << 20) if ready else b""
            assert chunk, "the browser does not answer"
            self._received += chunk
        message, _, self._received = self._received.partition(b"\0")
        return json.loads(message)

    def open(self, url: str, *, width: int = 1280, dark: bool = False) -> None:
        """Load *url* in a window of *width* pixels."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        answer = self.send("Page.navigate", url=url)
        assert "errorText" not in answer, answer
        self.wait_for("Page.loadEventFired")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, run by the debugger and not by the page."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def complaints(self) -> list[str]:
        """What the console says since the last `open`: policy violations, failed loads, errors."""
        self.evaluate("1")  # whatever was logged before has arrived once this is answered
        said = [e["params"]["entry"]["text"] for e in self.events if e.get("method") == "Log.entryAdded"]
        kinds = {"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Network.loadingFailed"}
        return said + [json.dumps(e["params"]) for e in self.events if e.get("method") in kinds]

    def close(self) -> None:
        """End the browser and its children."""
        os.close(self._write)  # the browser ends when its pipe does
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        os.close(self._read)


def furnish(site: Site) -> Site:
    """Something in every part of both pages."""
    site.clock.advance(NOW_S - site.clock.now_s())
    site.incidents.held = [sample_incident(), sample_undetermined()]
    site.status.alerts = list(sample_incident().symptoms)
    site.status.seen = [
        Sight("inference", "vLLM at 10.0.0.11:8000", seen=True, detail="model example-7b"),
        Sight("kernel_log", "kernel log", seen=False, detail="permission denied: /dev/kmsg", hint="Join group adm."),
    ]
    for t in range(600):
        rate = 31 + 3 * math.sin(t / 3) + (62 if t > 440 else 0)
        site.series.put("http_server_arrival_rate", SERVICE, {NOW_S - 600 + t: rate})
    for i, replica in enumerate(REPLICAS):
        labels = Labels.of(instance=replica)
        site.series.put("gen_ai_server_up", labels, {NOW_S: float(i != 2)})
        site.series.put("gen_ai_server_requests_waiting", labels, {NOW_S: 38.0})
        site.series.put("hw_gpu_utilization_ratio", Labels.of(gpu=str(i)), {NOW_S: 0.93})
    return site


class Served:
    """The application on a free port, in a thread with its own loop."""

    def __init__(self) -> None:
        self.site = furnish(Site())
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.server = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)

    async def _start(self) -> WebServer:
        sock = bind("127.0.0.1:0")
        self.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        server = WebServer(self.site.app, sock)
        server.start()
        return server

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self.server.stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture
def served() -> Iterator[Served]:
    running = Served()
    yield running
    running.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = require_program("chromium")
    profile = tempfile.mkdtemp(prefix="aiops-chromium-")
    running = Browser(program, profile)
    yield running
    running.close()
    shutil.rmtree(profile, ignore_errors=True)


@pytest.mark.parametrize("path", ["/", OPEN, UNDETERMINED, "/incidents/gone"])
def test_the_browser_blocks_nothing_and_logs_nothing(served, browser, path):
    """A violation of our own policy would be a page that looks broken, only in the browser."""
    browser.open(served.url + path)

    missing = ["Failed to load resource: the server responded with a status of 404 (Not Found)"]
    assert browser.complaints() == (missing if path.endswith("gone") else [])
    assert browser.evaluate("document.styleSheets.length") == 1
    assert browser.evaluate("document.styleSheets[0].cssRules.length") > 50


def test_a_page_that_does_break_the_policy_would_be_noticed(served, browser):
    """The test above must be able to fail."""
    browser.open(served.url + "/")
    browser.evaluate("document.body.insertAdjacentHTML('beforeend', '<p style=\"color:red\" onclick=\"x()\">x</p>')")

    assert any("Content Security Policy" in text for text in browser.complaints())


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [320, 390, 820, 1280, 1920])
@pytest.mark.parametrize("path", ["/", OPEN, UNDETERMINED])
def test_nothing_sticks_out_sideways(served, browser, path, width, dark):
    """On a phone at three in the morning nobody scrolls sideways to find the cause."""
    browser.open(served.url + path, width=width, dark=dark)

    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate(OUTSIDE) == []


def test_the_headline_is_on_the_first_screen_of_a_phone(served, browser):
    """Cause, how sure, and what to do, before any scrolling."""
    browser.open(served.url + OPEN, width=390)

    headline = "document.querySelector('h1')"
    assert browser.evaluate(f"{headline}.textContent") == "503 on chat: Traffic burst"
    assert browser.evaluate(f"{headline}.getBoundingClientRect().bottom") < 300
    assert browser.evaluate("document.querySelector('.advice').getBoundingClientRect().top") < 640


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("path", ["/", OPEN])
def test_text_has_the_contrast_that_tired_eyes_need(served, browser, path, dark):
    """WCAG 2.2, 1.4.3: 4.5 to 1, large text 3 to 1."""
    browser.open(served.url + path, dark=dark)

    assert browser.evaluate(FAINT) == []


@pytest.mark.parametrize("dark", [False, True])
def test_the_page_paints_and_follows_the_colour_scheme(served, browser, dark):
    """A blank screenshot passes every test of the DOM."""
    browser.open(served.url + OPEN, width=390, dark=dark)

    rows = pixels(base64.b64decode(browser.send("Page.captureScreenshot", format="png")["data"]))
    assert len(set(rows)) > 100, "most rows are alike: a blank page"
    background = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    level = sum(int(part) for part in background.removeprefix("rgb(").rstrip(")").split(",")) / 3
    assert (level < 64) == dark


def test_charts_are_drawn_with_their_lines_bands_and_marks(served, browser):
    """An SVG with a wrong namespace or a blocked style is in the DOM, and invisible."""
    browser.open(served.url + OPEN)

    assert browser.evaluate("document.querySelectorAll('.chart').length") == 5
    boxes = browser.evaluate(
        "[...document.querySelectorAll('.chart path.data, .chart .area rect.band, .chart line.zero')]"
        ".map(e => { const b = e.getBoundingClientRect(); return b.width + b.height })"
    )
    assert len(boxes) == 11 + 3 + 5
    assert all(size > 4 for size in boxes)
    strokes = browser.evaluate(
        "[...new Set([...document.querySelectorAll('.chart')][1].querySelectorAll('path.data'))]"
        ".map(e => getComputedStyle(e).stroke + getComputedStyle(e).strokeDasharray)"
    )
    assert len(set(strokes)) == 3


def test_an_open_incident_turns_green_by_itself(served, browser):
    """Whoever keeps the page open sees the end without touching it."""
    browser.open(served.url + OPEN)
    assert browser.evaluate("document.querySelector('.pill').textContent") == "Open"
    served.site.incidents.held = [sample_incident(resolved=True)]
    browser.events.clear()

    browser.wait_for("Page.loadEventFired")

    assert browser.evaluate("document.querySelector('.pill').textContent") == "Resolved"
    assert browser.complaints() == []


def pixels(png: bytes) -> list[bytes]:
    """The filtered rows of a PNG: enough to tell a picture from a blank."""
    at, data, height = 8, b"", 0
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind, content = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            (height,) = struct.unpack(">I", content[4:8])
        if kind == b"IDAT":
            data += content
        at += 12 + length
    raw = zlib.decompress(data)
    row = len(raw) // height
    return [raw[y * row : (y + 1) * row] for y in range(height)]


OUTSIDE = """[...document.querySelectorAll('main *')].filter(e => {
  const b = e.getBoundingClientRect();
  return b.width && !e.closest('.host') && (b.right > innerWidth + 1 || b.left < -1);
}).map(e => e.outerHTML.slice(0, 80))"""

FAINT = """(() => {
  const parse = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || e.closest('title, desc') || !e.getClientRects().length) continue;
    const style = getComputedStyle(e);
    const ink = parse(e.closest('svg') ? style.fill : style.color);
    const [a, b] = [light(ink), light(behind(e))].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const ratio = (a + .05) / (b + .05);
    if (ratio < (large ? 3 : 4.5)) found.push(ratio.toFixed(2) + ' ' + e.outerHTML.slice(0, 80));
  }
  return found;
})()"""
