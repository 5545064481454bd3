# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real Chromium, spoken to by its DevTools protocol over two pipes: no driver, no port, no network.

Messages are JSON objects that end with a zero byte; the browser reads them from descriptor 3 and writes to 4.
"""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import select
import subprocess
import time
from pathlib import Path
from typing import Any

PROGRAM = "chromium"
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
TIMEOUT = 60.0  # seconds for one answer


def _pipe() -> tuple[int, int]:
    """A pipe whose ends are not among the descriptors that the browser's are moved to."""
    ends = os.pipe()
    high = tuple(fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, 10) for one in ends)
    for one in ends:
        os.close(one)
    return high[0], high[1]


class Chromium:
    """One browser with one page; ``home`` is an empty folder for its profile."""

    def __init__(self, home: Path) -> None:
        (to_browser, self._out), (self._in, from_browser) = _pipe(), _pipe()
        # The shell puts the pipes where the browser looks for them; our own ends stay in this process.
        words = [PROGRAM, *_FLAGS, f"--user-data-dir={home}", "about:blank"]
        command = ["bash", "-c", f'exec "$@" 3<&{to_browser} 4>&{from_browser}', "chromium", *words]
        with (home.parent / f"{home.name}.log").open("wb") as log:
            self._process = subprocess.Popen(
                command, pass_fds=(to_browser, from_browser), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        os.close(to_browser)
        os.close(from_browser)
        self._ids = itertools.count(1)
        self._read = b""
        self.events: list[dict[str, Any]] = []
        self._session = ""
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(one["targetId"] for one in targets if one["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command; its result, or an AssertionError with the browser's words."""
        number = next(self._ids)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next(time.monotonic() + TIMEOUT, method)
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def wait(self, event: str) -> None:
        """Until an event that has not been looked at arrives."""
        deadline = time.monotonic() + TIMEOUT
        while not any(one.get("method") == event for one in self.events):
            self.events.append(self._next(deadline, event))

    def _next(self, deadline: float, awaited: str) -> dict[str, Any]:
        while b"\0" not in self._read:
            left = deadline - time.monotonic()
            assert left > 0 and select.select([self._in], [], [], left)[0], f"Chromium did not answer: {awaited}"
            more = os.read(self._in, 1 << 16)
            assert more, f"Chromium ended while it was asked for {awaited}; see the log beside its profile"
            self._read += more
        first, dummy, self._read = self._read.partition(b"\0")
        answer: dict[str, Any] = json.loads(first)
        return answer

    def open(self, page: Path, width: int, height: int, scheme: str, mobile: bool) -> None:
        """Show a file at this size, in the colour scheme ``light`` or ``dark``."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.events.clear()
        self.call("Page.navigate", url=page.as_uri())
        self.wait("Page.loadEventFired")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def picture(self, path: Path) -> bytes:
        """A PNG of the whole page."""
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"])
        path.write_bytes(data)
        return data

    def close(self) -> None:
        """End the browser, and its helpers with it."""
        self._session = ""
        try:
            self.call("Browser.close")
        except (AssertionError, OSError):
            self._process.terminate()
        os.close(self._out)
        os.close(self._in)
        self._process.wait(timeout=20)
