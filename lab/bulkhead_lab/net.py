"""Network namespaces, ``ip`` and ``nft``: the few primitives the lab's networks are made with.

Everything runs inside the lab, where /run/netns is the lab's own.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from .errors import LabError

NETNS = Path("/run/netns")
COMMAND_TIMEOUT = 30.0  # seconds
CLONE_NEWNET = 0x40000000

Result = TypeVar("Result")


def run(argv: Sequence[str], text: str | None = None, netns: str | None = None) -> str:
    """Run a command, in a namespace if one is named, with ``text`` as its input; what it printed.

    LabError with the command's own words when it fails.
    """
    enter = ["nsenter", f"--net={NETNS / netns}", "--"] if netns else []
    try:
        done = subprocess.run(
            [*enter, *argv],
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise LabError(f"{argv[0]} in namespace {netns or 'of the lab'} did not run: {exc}.") from exc
    if done.returncode != 0:
        told = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise LabError(f"`{' '.join(argv)}` in namespace {netns or 'of the lab'} failed: {told}.")
    return done.stdout


def ip(lines: Sequence[str], netns: str | None = None) -> None:
    """Run ``ip`` commands (each without the word ip) in order; the first that fails ends it."""
    if lines:
        run(["ip", "-batch", "-"], text="".join(f"{line}\n" for line in lines), netns=netns)


def nft(ruleset: str, netns: str) -> None:
    """Load a ruleset as one transaction."""
    run(["nft", "-f", "-"], text=ruleset, netns=netns)


def sysctl(values: Mapping[str, int], netns: str) -> None:
    """Set kernel settings of a namespace."""
    run(["sysctl", "-q", "-w", *(f"{name}={value}" for name, value in values.items())], netns=netns)


def has_netns(name: str) -> bool:
    """Whether a namespace of this name exists."""
    return (NETNS / name).exists()


def add_netns(name: str) -> None:
    """Make a namespace, unless it exists, with loopback up."""
    if not has_netns(name):
        run(["ip", "netns", "add", name])
    ip(["link set lo up"], name)


def delete_netns(name: str) -> None:
    """Delete a namespace if it exists."""
    if has_netns(name):
        run(["ip", "netns", "delete", name])


def links(netns: str) -> dict[str, dict[str, Any]]:
    """The namespace's devices by name, as ``ip -json link`` tells them."""
    return {link["ifname"]: link for link in json.loads(run(["ip", "-json", "link", "show"], netns=netns) or "[]")}


def is_up(netns: str, device: str) -> bool:
    """Whether a device exists and is set up."""
    return has_netns(netns) and "UP" in links(netns).get(device, {}).get("flags", [])


def in_netns(name: str, function: Callable[[], Result]) -> Result:
    """Call ``function`` on a thread inside a namespace, and return or raise what it does.

    Sockets it makes stay in that namespace. The thread ends with the call, so
    no other code ever runs there.
    """
    outcome: list[Result] = []
    failure: list[BaseException] = []

    def body() -> None:
        try:
            descriptor = os.open(NETNS / name, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET) != 0:
                    number = ctypes.get_errno()
                    raise OSError(number, os.strerror(number))
            finally:
                os.close(descriptor)
            outcome.append(function())
        except BaseException as exc:  # the caller gets it, whatever it is
            failure.append(exc)

    thread = threading.Thread(target=body, name=f"in-{name}", daemon=True)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def accepts_tcp(netns: str, address: str, port: int, timeout: float = 1.0) -> bool:
    """Whether a TCP connection from inside ``netns`` is accepted."""

    def attempt() -> bool:
        with socket.create_connection((address, port), timeout):
            return True

    try:
        return in_netns(netns, attempt)
    except OSError:
        return False
