"""Look for secrets in whatever form they may have slipped out, and watch the arguments of all processes."""

from __future__ import annotations

import base64
import os
import threading
import time
from collections.abc import Iterable, Mapping
from urllib.parse import unquote_to_bytes

PERIOD = 0.05  # seconds between two looks at all processes


def forms(value: str) -> dict[str, bytes]:
    """A key as WireGuard writes it (base64 of 32 bytes) in every form it may take, by the form's name."""
    raw = base64.b64decode(value)
    found = {
        "text": value.encode(),
        "text for URLs": base64.urlsafe_b64encode(raw),
        "hex": raw.hex().encode(),
        "bytes": raw,
    }
    for shift in range(3):
        # base64 of a text that has the key somewhere: what it looks like depends on its place, but for the ends
        encoded = base64.b64encode(b"\0" * shift + value.encode())
        whole = len(b"\0" * shift + value.encode()) // 3 * 4
        found[f"base64 at {shift}"] = encoded[4 if shift else 0 : whole]
    return found


def search(secrets: Mapping[str, str], sources: Mapping[str, bytes]) -> list[str]:
    """``source: secret as form`` for each find; percent-encoded and JSON-escaped texts are read as well."""
    finds = []
    for source, content in sources.items():
        texts = {content, unquote_to_bytes(content), content.replace(b"\\/", b"/")}
        for name, value in secrets.items():
            finds += [
                f"{source}: {name} as {form}"
                for form, needle in forms(value).items()
                if any(needle in text for text in texts)
            ]
    return finds


class Arguments(threading.Thread):
    """Collects the argument lists of all processes of the machine, the lab's node and its containers among them."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: set[bytes] = set()
        self.looks = 0
        self.seconds = 0.0
        self._end = threading.Event()

    def run(self) -> None:
        """Look until stopped."""
        start = time.monotonic()
        while not self._end.wait(PERIOD):
            self.seen.update(_arguments(name for name in os.listdir("/proc") if name.isdigit()))
            self.looks += 1
            self.seconds = time.monotonic() - start

    def stop(self) -> Arguments:
        """End; the collection stays."""
        self._end.set()
        self.join()
        return self

    def __enter__(self) -> Arguments:
        self.start()
        return self

    def __exit__(self, *dummy: object) -> None:
        self.stop()

    @property
    def text(self) -> bytes:
        """All of them, a line each."""
        return b"\n".join(sorted(self.seen))


def _arguments(pids: Iterable[str]) -> Iterable[bytes]:
    for pid in pids:
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as handle:
                yield handle.read().replace(b"\0", b" ")
        except OSError:
            continue  # it has ended
