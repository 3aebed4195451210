"""A real Chromium over its own pipe (the DevTools protocol): one process for many pages, no driver in between."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--remote-debugging-pipe",
)  # fmt: skip
NAMES = ("chromium", "chromium-browser", "google-chrome")
COMPLAINTS = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")


class Browser:
    """A headless Chromium. Commands go out on its file descriptor 3, answers and events come in on its 4."""

    def __init__(self) -> None:
        command = next((found for name in NAMES if (found := shutil.which(name))), NAMES[0])
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        commands, self._out = os.pipe()
        self._in, answers = os.pipe()
        # The shell puts the two ends where Chromium looks for them.
        line = f'exec "$0" "$@" 3<&{commands} 4>&{answers}'
        words = [command, *FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"]
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", line, *words], pass_fds=(commands, answers), stderr=subprocess.DEVNULL
        )
        os.close(commands)
        os.close(answers)
        self._rest, self._number = b"", 0
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.send("Browser.close")
        self._process.wait(30)
        os.close(self._out)
        os.close(self._in)
        self._profile.cleanup()

    def send(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """A command, and its answer."""
        self._number += 1
        said = {"id": self._number, "method": method, "params": parameters} | (
            {"sessionId": session} if session else {}
        )
        os.write(self._out, json.dumps(said).encode() + b"\0")
        while True:
            heard = self._hear()
            if heard.get("id") == self._number:
                assert "error" not in heard, f"{method}: {heard['error']}"
                return dict(heard["result"])
            self.events.append(heard)

    def wait(self, method: str, session: str) -> None:
        """Until an event comes; one that has come counts."""
        while not any(event.get("method") == method and event.get("sessionId") == session for event in self.events):
            self.events.append(self._hear())

    def _hear(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self._in, 1 << 20)
            assert more, "the browser has gone"
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(line))

    @contextmanager
    def page(
        self,
        path: Path,
        width: int = 1200,
        height: int = 900,
        scheme: Literal["light", "dark"] = "light",
        media: Literal["screen", "print"] = "screen",
    ) -> Iterator[Page]:
        """A file as it looks in a window of that size, after it is loaded and has drawn."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable", session)
        self.send(
            "Network.emulateNetworkConditions",
            session,
            offline=True,
            latency=0,
            downloadThroughput=0,
            uploadThroughput=0,
        )
        size = {"width": width, "height": height, "deviceScaleFactor": 2 if width < 500 else 1, "mobile": width < 500}
        self.send("Emulation.setDeviceMetricsOverride", session, **size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.send("Emulation.setEmulatedMedia", session, media=media, features=features)
        self.events.clear()
        self.send("Page.navigate", session, url=path.absolute().as_uri())
        self.wait("Page.loadEventFired", session)
        page = Page(self, session)
        # What was laid out is drawn two frames later.
        page.tell("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")
        yield page
        self.send("Target.closeTarget", targetId=target)


class Page:
    """A page that is open."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session

    def tell(self, expression: str) -> Any:
        """The value of a JavaScript expression, or of what it promises."""
        found = self._browser.send(
            "Runtime.evaluate", self._session, expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    @property
    def text(self) -> str:
        """What a reader reads, the folded parts included."""
        return str(self.tell("document.body.textContent"))

    def drawings(self) -> list[str]:
        """The names of the pictures in the tree that the browser hands to a screen reader, "" for none."""
        nodes = self._browser.send("Accessibility.getFullAXTree", self._session)["nodes"]
        kinds = ("image", "img", "svg", "graphics-document", "SvgRoot")
        shown = [each for each in nodes if not each["ignored"] and each["role"]["value"] in kinds]
        return [str((each.get("name") or {}).get("value", "")) for each in shown]

    @property
    def complaints(self) -> list[dict[str, Any]]:
        """What the page said to its console, and what it asked of the network."""
        self.tell("1")  # what was said before has been heard by now
        asked = [
            event
            for event in self._browser.events
            if event.get("method") == "Network.requestWillBeSent"
            and not event["params"]["request"]["url"].startswith(("file:", "data:"))
        ]
        return [event for event in self._browser.events if event.get("method") in COMPLAINTS] + asked

    def picture(self, path: Path, whole: bool = True) -> Path:
        """A PNG of the page from top to bottom."""
        made = self._browser.send("Page.captureScreenshot", self._session, captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(made["data"]))
        return path

    def printed(self, path: Path) -> Path:
        """A PDF of A4 pages, as a printer would get it."""
        made = self._browser.send("Page.printToPDF", self._session, paperWidth=8.27, paperHeight=11.69)
        path.write_bytes(base64.b64decode(made["data"]))
        return path
