# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What is so in the pod: files, tables, links, routes. Nothing is sent anywhere."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import time
from typing import Any

from . import early
from .place import STATE, agent, mounted

COMMAND = 10.0  # seconds for ip, nft and bridge
EARLY = 30.0  # longer than a twin's first program ever sends
CHANGING = ("gateway", "peers", "inner", "direct")  # sets that the agents fill at run time


def mounted_agent() -> Any:
    """Hash of the files that are mounted, as the entry line computes it."""
    files = {}
    for name in os.listdir(STATE["mount"]):
        if name.endswith(".py"):
            with open(os.path.join(STATE["mount"], name), "rb") as file:
                files[name] = file.read()
    return agent("").content_hash(files)


def run_json(argv: Any) -> Any:
    # pylint: disable-next=ansible-bad-function  # runs in a pod: there is no AnsibleModule
    done = subprocess.run(argv, capture_output=True, text=True, timeout=COMMAND, check=False)
    if done.returncode:
        raise OSError((done.stderr.strip() or f"{argv[0]} failed").splitlines()[0])
    return json.loads(done.stdout) if done.stdout.strip() else []


def routes(wanted: Any) -> Any:
    """What the kernel would do with packets to these literals: name -> {dev, type} or {error}."""
    found = {}
    for name, entry in wanted.items():
        six = ["-6"] if ":" in entry["address"] else []
        try:
            answer = run_json(["ip", "-j", *six, "route", "get", entry["address"]])[0]
            found[name] = {"dev": answer.get("dev", ""), "type": answer.get("type", "unicast")}
        except (OSError, IndexError) as exc:
            text = str(exc)
            # Only the kernel's own refusals say anything about routes.
            if not any(words in text.lower() for words in ("unreachable", "no route to host", "not permitted")):
                raise
            found[name] = {"error": text}
        found[name]["direct"] = bool(entry.get("direct"))
    return found


def chain(items: Any, hook: Any) -> Any:
    """The filter chain of a table at a hook: hook, prio and policy."""
    for item in items:
        one = item.get("chain", {})
        if one.get("hook") == hook and one.get("type") == "filter":
            return {key: one.get(key) for key in ("hook", "prio", "policy")}
    return {}


def rendered(config: Any, table: Any) -> Any:
    """Whether the live table is what the configuration asks for; only sets that change at run time may differ.

    An agent of another version has other rules: then its own files, whose hash is proven, say what they should be.
    """
    older = STATE["sent"] != mounted_agent()
    by = mounted if older else agent
    conf, rules, tables, nft = by("config"), by("rules"), by("tables"), agent("nft")
    client = config.get("role") == "client"
    parsed = conf.client(config) if client else conf.gateway(config)
    wanted = rules.guard_table(parsed) if client else rules.gateway_table(parsed)
    items = nft.listing("inet", table)
    seen, meant = nft.outline(items), tables.outline(wanted)
    for name in sorted(set(seen) | set(meant)):
        if seen.get(name) != meant.get(name):
            return f"chain {name} differs"
    for one in wanted.sets:
        if one.name not in CHANGING and nft.covered(one.elements) != nft.covered(nft.elements(items, one.name)):
            return f"set {one.name} differs"
    return "older agent" if older else "equal"


def direct(table: Any) -> Any:
    """The destinations that a guard lets pass beside the VPN just now, in the form of the registry."""
    nft, found = agent("nft"), []
    for element in sorted(nft.elements(nft.listing("inet", table), "direct")):
        protocol, address, port = element.split(" . ")
        found.append({"protocol": protocol, "address": address, "port": int(port)})
    return found


def live(table: Any) -> Any:
    """The proof as the rules stand now, in the form the guard wrote it."""
    guard, nft, rules = agent("guard"), agent("nft"), agent("rules")
    if table == rules.GUARD:
        return guard.live()
    proof = {"table": nft.digest(nft.listing("inet", table))}
    try:
        frames = nft.listing("netdev", table)
    except agent("command").CommandError:
        return {**proof, "frames": {"mode": rules.FRAMES_ABSENT, "table": ""}}
    mode = rules.FRAMES_ROUTED if "rtclassid" in json.dumps(frames) else rules.FRAMES_MARKED
    return {**proof, "frames": {"mode": mode, "table": nft.digest(frames)}}


def read(path: Any) -> Any:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def addresses() -> Any:
    shown = run_json(["ip", "-j", "address", "show"])
    return [
        {"dev": link["ifname"], "local": one.get("local", ""), "scope": one.get("scope", "")}
        for link in shown
        if link["ifname"] != "lo"
        for one in link.get("addr_info", [])
    ]


def link(device: Any) -> Any:
    found = run_json(["ip", "-j", "-d", "link", "show", "dev", device])[0]
    return {**found.get("linkinfo", {}).get("info_data", {}), "mtu": found["mtu"]}


def neighbours(device: Any) -> Any:
    return run_json(["ip", "-j", "-4", "neigh", "show", "dev", device])


def redirected_by_nft() -> Any:
    """Ports that rules written with nft redirect to, and whether there are rules that nft cannot spell out."""
    # pylint: disable-next=ansible-bad-function  # runs in a pod: there is no AnsibleModule
    done = subprocess.run(
        ["nft", "-j", "list", "ruleset"], capture_output=True, text=True, timeout=COMMAND, check=False
    )
    if done.returncode:
        raise OSError((done.stderr.strip() or "nft failed").splitlines()[0])
    ports, opaque = set(), False
    for item in json.loads(done.stdout)["nftables"]:
        for expression in item.get("rule", {}).get("expr", ()):
            if "redirect" in expression:
                ports.add((expression["redirect"] or {}).get("port", 0))
            opaque = opaque or "xt" in expression
    return ports, opaque


def redirected_by_iptables(program: Any) -> Any:
    """Ports that rules of one iptables program redirect to."""
    # pylint: disable-next=ansible-bad-function  # runs in a pod: there is no AnsibleModule
    done = subprocess.run([program, "-t", "nat"], capture_output=True, text=True, timeout=COMMAND, check=False)
    if done.returncode:
        raise OSError(f"{program}: " + (done.stderr.strip() or "it failed").splitlines()[0])
    return {int(port) for port in re.findall(r"-j REDIRECT .*--to-ports (\d+)", done.stdout)}


def legacy_redirects(six: Any) -> Any:
    """Ports that rules in the old nat table redirect to.

    Its own program wants NET_RAW, which we do not have; the kernel answers any socket of who has NET_ADMIN (structs of
    ip_tables.h and ip6_tables.h).
    """
    libc, level = ctypes.CDLL(None, use_errno=True), socket.IPPROTO_IPV6 if six else socket.IPPROTO_IP
    offsets, ports_at = (140, 36) if six else (88, 16)  # of target_offset in an entry, of the port in REDIRECT's data

    def ask(option: Any, size: Any, head: Any) -> Any:
        answer, length = ctypes.create_string_buffer(head, size), ctypes.c_uint(size)
        if libc.getsockopt(opened.fileno(), level, option, answer, ctypes.byref(length)):
            raise OSError(ctypes.get_errno(), "the old nat table")
        return answer.raw

    with socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM) as opened:
        (size,) = struct.unpack_from("I", ask(64, 84, b"nat"), 80)  # IPT_SO_GET_INFO
        entries = ask(65, 40 + size, struct.pack("32sI", b"nat", size))[40:]  # IPT_SO_GET_ENTRIES
    found, here = set(), 0
    while here < len(entries):
        target, following = struct.unpack_from("HH", entries, here + offsets)
        name = entries[here + target + 2 : here + target + 31].split(b"\0")[0]
        if name == b"REDIRECT":
            found.add(struct.unpack_from("!H", entries, here + target + 32 + ports_at)[0])
        here += following
    return found


def has_six() -> bool:
    """Whether the pod has an IPv6 address that is good for more than its own link."""
    path = "/proc/net/if_inet6"
    lines = [line.split() for line in read(path).splitlines()] if os.path.exists(path) else []
    return any(words[3] == "00" and words[5] != "lo" for words in lines)


def told_early() -> Any:
    """What a twin's first program counted; it answers as soon as it has ended sending."""
    data, begun = b"", time.monotonic()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(EARLY)
        while True:
            try:
                asking.connect(early.SOCKET)
                break
            except ConnectionRefusedError:  # it has only just begun
                if time.monotonic() - begun > COMMAND:
                    raise
                time.sleep(0.1)
        while True:
            more = asking.recv(65536)
            if not more:
                return json.loads(data)
            data += more


def mesh() -> Any:
    """Where rules in this network namespace redirect traffic to; a mesh writes them with nft or with iptables."""
    ports, opaque = redirected_by_nft()
    backend = "nft" if ports else ""
    readable = False
    for program in ("iptables-nft-save", "ip6tables-nft-save"):
        if shutil.which(program):
            more = redirected_by_iptables(program)
            backend, ports, readable = "iptables" if more else backend, ports | more, True
    if opaque and not readable:
        raise OSError("there are rules of iptables, and no iptables-nft-save to read them with")
    for six, tables in ((False, "/proc/net/ip_tables_names"), (True, "/proc/net/ip6_tables_names")):
        # Asking for a table would make one where there is none.
        if os.path.exists(tables) and "nat" in read(tables).split():
            more = legacy_redirects(six)
            backend, ports = "iptables-legacy" if more else backend, ports | more
    return {"redirects": sorted(ports), "backend": backend}


def fact_makers(request: Any) -> Any:
    """Name -> function without arguments; which of them run is asked for."""
    table, config = request.get("table", ""), request.get("config") or {}
    return {
        "agent": mounted_agent,
        "netns": lambda: os.readlink("/proc/self/ns/net"),
        "tools": lambda: {name: bool(shutil.which(name)) for name in ("nft", "ip", "bridge")},
        "guard": lambda: live(table),
        "egress": lambda: chain(agent("nft").listing("inet", table), "postrouting"),
        "forward": lambda: chain(agent("nft").listing("inet", table), "forward"),
        "forwards": lambda: {
            name: read(f"/proc/sys/net/ipv4/conf/{name}/forwarding").strip() == "1"
            for name in os.listdir("/proc/sys/net/ipv4/conf")
        },
        "direct": lambda: direct(table),
        "rendered": lambda: rendered(config, table),
        "routes": lambda: routes(request.get("routes") or {}),
        "addresses": addresses,
        "ping_groups": lambda: [int(word) for word in read("/proc/sys/net/ipv4/ping_group_range").split()],
        "resolv": lambda: read("/etc/resolv.conf"),
        "link": lambda: link("bulkhead0"),
        "mtu": lambda: link("bulkhead0")["mtu"],
        "fdb": lambda: run_json(["bridge", "-j", "fdb", "show", "dev", "bulkhead0"]),
        "neighbours": lambda: neighbours("bulkhead0"),
        "mesh": mesh,
        "six": has_six,
        "early": told_early,
    }


def facts(request: Any) -> Any:
    makers = fact_makers(request)
    found = {}
    for name in request.get("facts", ()):
        try:
            found[name] = makers[name]()
        except Exception as exc:  # whatever it is, the other facts still count
            found[name] = {"error": f"{type(exc).__name__}: {exc}"}
    return found
