"""Commands to a running lab: one JSON line each way over a unix socket."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import LabError

Handler = Callable[..., Any]


@contextmanager
def _short_name(path: Path) -> Iterator[str]:
    """A name for ``path`` that fits the 108 bytes of a unix socket address wherever the lab's home lies."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def call(path: Path, command: str, timeout: float = 10.0, **arguments: Any) -> Any:
    """Ask the lab behind ``path``; LabError when it answers with an error, OSError when nobody answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, _short_name(path) as name:
        connection.settimeout(timeout)
        connection.connect(name)
        connection.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            part = connection.recv(65536)
            if not part:
                raise OSError(f"the lab closed the connection during {command!r}")
            answer += part
    decoded = json.loads(answer)
    if "error" in decoded:
        raise LabError(decoded["error"])
    return decoded["result"]


def serve(path: Path, handlers: dict[str, Handler]) -> None:
    """Answer commands for ever, each in its own thread."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        with _short_name(path) as name:
            listener.bind(name)
        os.chmod(path, 0o600)
        listener.listen(16)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_answer, args=(connection, handlers), daemon=True).start()


def _answer(connection: socket.socket, handlers: dict[str, Handler]) -> None:
    with connection, connection.makefile("rwb") as stream:
        try:
            request = json.loads(stream.readline())
            handler = handlers[request.pop("command")]
            result: dict[str, Any] = {"result": handler(**request)}
        except LabError as exc:
            result = {"error": str(exc)}
        except Exception as exc:  # whatever went wrong, the caller must hear of it
            result = {"error": f"{type(exc).__name__}: {exc}"}
        stream.write(json.dumps(result).encode() + b"\n")
