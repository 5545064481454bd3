"""Processes as /proc shows them."""

from __future__ import annotations

from pathlib import Path


def start_time(pid: int) -> str | None:
    """Start time of ``pid`` in clock ticks since boot: with the pid, the identity of a process. None when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else fields[19]


def children(pid: int) -> list[int]:
    """Direct children of ``pid``; empty when it is gone."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
