# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Running the few tools the agent needs (ip, bridge, nft, wg)."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

TOOL_SECONDS = 30.0  # a tool takes milliseconds, but a small board with a full house takes its time


class AgentError(Exception):
    """One sentence for the container's log: what failed, on what, what to do."""


class CommandError(AgentError):
    """A tool is missing, took too long or returned non-zero."""


def run(argv: Sequence[str], stdin: str | None = None, timeout: float = TOOL_SECONDS) -> str:
    """Run a tool and return its output.

    Secrets go through ``stdin`` only: ``argv`` is visible to everybody on the node and is part of the error message.
    """
    shown = " ".join(argv)
    try:
        # pylint: disable-next=ansible-bad-function  # runs in a pod, where there is no AnsibleModule
        done = subprocess.run(list(argv), input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
    except FileNotFoundError as exc:
        raise CommandError(f"The image has no {argv[0]}; use an image that contains it.") from exc
    except subprocess.TimeoutExpired as exc:
        raise CommandError(f"{shown} did not end within {timeout:g} s.") from exc
    if done.returncode != 0:
        first = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[0]
        raise CommandError(f"{shown} failed with code {done.returncode}: {first}")
    return done.stdout


def run_json(argv: Sequence[str]) -> Any:
    """Output of a tool as JSON; iproute2 prints nothing at all for an empty list."""
    out = run(argv)
    try:
        return json.loads(out) if out.strip() else []
    except ValueError as exc:
        raise CommandError(f"{' '.join(argv)} printed something that is not JSON.") from exc


def log(event: str, **fields: Any) -> None:
    """One JSON line on standard error; standard output belongs to results."""
    # pylint: disable-next=ansible-bad-function  # runs in a pod; standard error is its log
    print(json.dumps({"time": round(time.time(), 3), "event": event, **fields}), file=sys.stderr, flush=True)
