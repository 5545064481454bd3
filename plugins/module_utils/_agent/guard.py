# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""First program of a client pod: nothing leaves eth0 that the rules do not name.

Order: closed table, trial of the netdev hook, full table, its companion, read back, one refused packet as proof.
Any error ends the program with non-zero and leaves the closed table, or the last complete one, in force; the kubelet
then starts nothing else of the pod. Running again on a live pod seals it for a moment and never opens it.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Mapping
from typing import Any

from . import links, nft, rules
from .command import AgentError, CommandError, log
from .config import POD_DEVICE, Client

# RFC 5737: documentation only. The packet never leaves; if it did, it would reach nobody.
_NOWHERE = ("192.0.2.1", 9)
_SO_BINDTODEVICE = 25


def _trial(mode: str) -> bool:
    """Whether a packet accepted by the inet table is recognised in the netdev hook; tried on loopback."""
    table = rules.frames_trial_table(mode)
    try:
        nft.load_table(table)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"", ("127.0.0.1", 9))
        return nft.counters(nft.listing(table.family, table.name)).get("seen", 0) > 0
    except (CommandError, nft.MismatchError, OSError):
        return False


def frames_mode() -> str:
    """Best mode of the netdev companion this kernel has; needs the closed table, whose loopback rule sets the mark."""
    found = rules.FRAMES_ABSENT
    for mode in (rules.FRAMES_ROUTED, rules.FRAMES_MARKED):
        if _trial(mode):
            found = mode
            break
    try:
        nft.delete("netdev", rules.frames_trial_table(rules.FRAMES_MARKED).name)
    except CommandError:
        pass  # no netdev family at all: nothing was made
    return found


def load_frames(name: str, mode: str) -> dict[str, str]:
    """Load the companion; a kernel without it is reported, not fatal: the inet table stands alone then."""
    if mode == rules.FRAMES_ABSENT:
        log("frames_absent", remedy="drop NET_RAW from every container; the kernel has no usable netdev egress hook")
        return {"mode": mode, "table": ""}
    return {"mode": mode, "table": nft.load_table(rules.frames_table(name, mode))}


def prove_refusal(table: str) -> None:
    """Send one packet to eth0 by name; the kernel has to refuse it and count it."""
    before = nft.counters(nft.listing("inet", table))[rules.DROPPED]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, _SO_BINDTODEVICE, POD_DEVICE.encode() + b"\0")
        try:
            sender.sendto(b"", _NOWHERE)
        except OSError as exc:
            if exc.errno != errno.EPERM:
                raise AgentError(
                    f"The trial packet on {POD_DEVICE} failed with {exc.strerror}, not by the guard."
                ) from exc
        else:
            raise AgentError(f"The guard is loaded, but a packet sent on {POD_DEVICE} was not refused.")
    if nft.counters(nft.listing("inet", table))[rules.DROPPED] <= before:
        raise AgentError(f"The packet refused on {POD_DEVICE} was not counted by the guard.")


def load(config: Client) -> dict[str, Any]:
    """Put the guard in force and return its proof."""
    nft.load_table(rules.closed_table())
    links.require_single_exit()
    mode = frames_mode()
    table = nft.load_table(rules.guard_table(config))
    frames = load_frames(rules.GUARD, mode)
    prove_refusal(rules.GUARD)
    return {"table": table, "frames": frames}


def live() -> dict[str, Any]:
    """The proof as the rules stand now, for comparison with the one written at start."""
    proof: dict[str, Any] = {"table": nft.digest(nft.listing("inet", rules.GUARD))}
    try:
        frames = nft.listing("netdev", rules.GUARD)
    except CommandError:
        return {**proof, "frames": {"mode": rules.FRAMES_ABSENT, "table": ""}}
    routed = nft.digest(frames)
    mode = rules.FRAMES_ROUTED if "rtclassid" in json.dumps(frames) else rules.FRAMES_MARKED
    return {**proof, "frames": {"mode": mode, "table": routed}}


def write_proof(proof: Mapping[str, Any], path: str) -> None:
    """The kubelet copies this file into the container's status, where no container of the pod can change it."""
    with open(path, "w", encoding="ascii") as file:
        json.dump(proof, file, sort_keys=True, separators=(",", ":"))


def main(config: Client, environment: Mapping[str, str]) -> int:
    """Command ``guard``."""
    proof = {"agent": environment.get("BULKHEAD_AGENT", ""), **load(config)}
    write_proof(proof, environment.get("BULKHEAD_PROOF", "/dev/termination-log"))
    log("guard_loaded", pid=os.getpid(), **proof)
    return 0
