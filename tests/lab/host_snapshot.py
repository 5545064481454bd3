"""What a lab could change on the machine, as comparable data."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

# Written by the machine's own services at any time, or by installing packages.
NOISE = ("/var/cache", "/var/lib/apt", "/var/lib/dpkg", "/var/log", "/var/tmp", "/run/log", "/run/user")
SETTINGS = ("kernel", "net/ipv4/ip_forward", "net/ipv4/conf", "net/ipv6/conf", "net/netfilter", "vm")
COUNTING = ("random", "ns_last_pid", "pty/nr", "nf_conntrack_count", "stat_refresh", "urandom_min", "stable_secret")
COMMANDS = (
    ("ip", "-o", "link"),
    ("ip", "-o", "addr"),
    ("ip", "route", "show", "table", "all"),
    ("ip", "rule"),
    ("nft", "list", "ruleset"),
    ("iptables-save",),
)


def _files() -> set[str]:
    found: set[str] = set()
    for top in ("/etc", "/run", "/var"):
        for folder, folders, names in os.walk(top):
            folders[:] = [name for name in folders if os.path.join(folder, name) not in NOISE]
            for name in (*folders, *names):
                path = os.path.join(folder, name)
                size = os.lstat(path).st_size if top == "/etc" and os.path.lexists(path) else 0
                found.add(f"{path} {size}" if size else path)
    return found


def _settings() -> set[str]:
    found: set[str] = set()
    for top in SETTINGS:
        base = Path("/proc/sys") / top
        for path in [base] if base.is_file() else base.rglob("*"):
            if path.is_file() and not any(part in str(path) for part in COUNTING):
                try:
                    found.add(f"{path} = {path.read_text().strip()}")
                except OSError:
                    continue  # write-only settings
    return found


def _lab_processes() -> set[str]:
    found: set[str] = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # ended meanwhile
        if "/opt/lab/" in command or "bulkhead_lab." in command or command.startswith("/pause "):
            found.add(f"{path.parent.name} {command}")
    return found


def _output(command: tuple[str, ...]) -> set[str]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return {"not installed"}
    return {line for line in done.stdout.splitlines() if not line.startswith("#")}


def snapshot() -> dict[str, set[str]]:
    """Section -> lines. Two snapshots of an untouched machine are equal."""
    sections = {" ".join(command): _output(command) for command in COMMANDS}
    sections["listening"] = {line.split()[3] for line in _output(("ss", "-Hltn"))}
    sections["mounts"] = set(Path("/proc/self/mounts").read_text().splitlines())
    sections["files"] = _files()
    sections["kernel settings"] = _settings()
    sections["cgroups"] = {str(path) for path in Path("/sys/fs/cgroup").glob("*/*") if path.is_dir()}
    # A network namespace lives by its processes and its mounts; others may make some of their own meanwhile.
    sections["processes of a lab"] = _lab_processes()
    return sections


def difference(before: dict[str, set[str]], after: dict[str, set[str]]) -> list[str]:
    """Lines that came (+) or went (-), by section; empty when nothing changed."""
    lines: list[str] = []
    for section in before:
        lines += [f"{section}: - {line}" for line in sorted(before[section] - after[section])]
        lines += [f"{section}: + {line}" for line in sorted(after[section] - before[section])]
    return lines
