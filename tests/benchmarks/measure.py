"""What the benchmarks share: plays that are timed, requests that are counted, figures side by side."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars: {{ansible_python_interpreter: "{{{{ ansible_playbook_python }}}}"}}
  tasks:
    - ansible.builtin.assert: {{that: true, quiet: true}}
{task}
"""


def play(task: str, variables: dict[str, Any]) -> float:
    """Run a play with one task; the seconds it took."""
    with tempfile.TemporaryDirectory() as folder:
        book, values = Path(folder, "play.yml"), Path(folder, "values.json")
        book.write_text(PLAY.format(task=task), encoding="utf-8")
        values.write_text(json.dumps(variables), encoding="utf-8")
        begin = time.monotonic()
        done = subprocess.run(
            ["ansible-playbook", "-i", "localhost,", "-e", f"@{values}", str(book)],
            env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - begin
    if done.returncode:
        sys.exit(f"The play failed:\n{done.stdout[-4000:]}{done.stderr[-2000:]}")
    return seconds


class Audit:
    """Requests that Ansible made, from the API server's audit log; dry runs do not count."""

    def __init__(self, log: Path) -> None:
        self.log, self.place = log, 0
        self.since()

    def since(self) -> Counter[str] | None:
        """Requests by verb since the last call; None without a log."""
        if not self.log.exists():
            return None
        with self.log.open("rb") as file:
            file.seek(self.place)
            lines = [line for line in file.read().splitlines(keepends=True) if line.endswith(b"\n")]
        self.place += sum(map(len, lines))
        counts: Counter[str] = Counter()
        for event in map(json.loads, lines):
            agent = event.get("userAgent", "")
            ours = agent == "bulkhead.mesh" or agent.startswith("OpenAPI-Generator")
            if ours and "dryRun=All" not in event.get("requestURI", ""):
                counts[event["verb"]] += 1
        return counts


def words(counts: Counter[str] | None) -> str:
    """Counts in words, such as ``1 get, 14 list``."""
    if counts is None:
        return "no audit log"
    return ", ".join(f"{count} {verb}" for verb, count in sorted(counts.items())) or "none"


def table(title: str, rows: Sequence[Sequence[str]]) -> None:
    """Print rows under a title; the first row is the heading, all columns but the first to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    print(f"\n{title}")
    for row in rows:
        cells = [
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  " + "  ".join(cells).rstrip(), flush=True)
