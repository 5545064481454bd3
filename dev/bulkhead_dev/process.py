"""Run a suite's commands: output to its log, and to the terminal when wished."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bulkhead_dev.errors import ToolError


def run_logged(
    argv: Sequence[str],
    log: Path,
    *,
    cwd: Path,
    env: Mapping[str, str],
    live: bool,
    timeout: float,
    stop: threading.Event,
) -> None:
    """Run ``argv`` to its end; ToolError when it fails or needs more than ``timeout`` seconds.

    When ``stop`` is set by another thread, it is stopped as if by Ctrl-C.

    The output goes to a file, not to a pipe: the lab stays running after ``up``, and whoever
    waited for the end of a pipe that it inherited would wait for ever.
    """
    with log.open("ab") as output:
        output.write(f"\n$ {shlex.join(argv)}\n".encode())
        output.flush()
        start = output.tell()
        try:
            process = subprocess.Popen(
                argv,
                cwd=cwd,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as exc:
            raise ToolError(f"{argv[0]} cannot be started: {exc.strerror}.") from exc
    ended = threading.Event()
    echo = threading.Thread(target=_follow, args=(log, start, ended), daemon=True)
    if live:
        echo.start()
    try:
        code = _wait(process, time.monotonic() + timeout, stop)
        if code is None:
            raise ToolError(f"{shlex.join(argv[:4])} did not end within {timeout:.0f} seconds and was stopped.")
    finally:
        _stop(process)
        ended.set()
        if live:
            echo.join()
    if code != 0:
        raise ToolError(f"{shlex.join([Path(argv[0]).name, *argv[1:4]])} ended with code {code}")


def _wait(process: subprocess.Popen[bytes], deadline: float, stop: threading.Event) -> int | None:
    """The exit code, or None when the time is over."""
    while True:
        try:
            return process.wait(max(0.0, min(0.5, deadline - time.monotonic())))
        except subprocess.TimeoutExpired:
            if stop.is_set():
                raise KeyboardInterrupt from None
            if time.monotonic() >= deadline:
                return None


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a command that still runs (timeout, Ctrl-C) with all its children; politely first."""
    for signal_number, patience in ((signal.SIGTERM, 20.0), (signal.SIGKILL, 5.0)):
        if process.poll() is not None:
            return
        os.killpg(process.pid, signal_number)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue


def _follow(log: Path, start: int, ended: threading.Event) -> None:
    """Copy what is added to ``log`` after ``start`` to the terminal until the command has ended."""
    with log.open("rb") as file:
        file.seek(start)
        while True:
            last = ended.is_set()
            sys.stdout.write(file.read().decode(errors="replace"))
            sys.stdout.flush()
            if last:
                return
            time.sleep(0.1)


def tail(log: Path, lines: int = 40) -> str:
    """The end of a log, and before it the lines further up that call themselves an error."""
    if not log.exists():
        return ""
    text = log.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [line for line in text[:-lines] if line.startswith(("ERROR", "FATAL", "fatal:"))]
    return "\n".join([*errors[-lines:], *(["..."] if errors else []), *text[-lines:]])
