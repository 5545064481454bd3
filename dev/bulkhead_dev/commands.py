"""Run one command for its result."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from bulkhead_dev.errors import ToolError


def run(argv: Sequence[str], *, what: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """Standard output of ``argv``; a failure is a ToolError that starts with ``what`` and quotes the last lines."""
    try:
        done = subprocess.run(
            argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except OSError as exc:
        raise ToolError(f"{what} failed: {argv[0]} cannot be started ({exc.strerror}).") from exc
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
        raise ToolError(f"{what} failed: {argv[0]} ended with code {done.returncode} and said last:\n{said}")
    return done.stdout


def answer(argv: Sequence[str], timeout: float = 20.0) -> str | None:
    """What a candidate program says when it is really run; None if it cannot, fails or takes too long."""
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=timeout
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
