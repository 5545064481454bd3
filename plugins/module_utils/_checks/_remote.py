# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""The probe: runs inside a pod, from memory, with the Python of the agent's image. Standard library only.

It is sent through an exec's standard input together with the agent's source, so that client pods, gateways and twins are
tried by the same code, whatever is mounted there. It answers with one line of JSON::

    {"facts": {"agent": ..., "netns": ..., "tools": {...}, ...},      {"error": text} in place of what failed
     "steps": {"pod-dev-bind": {"attempts": [...], "delta": 3, "started": ..., "ended": ..., "seconds": ...}}}

Nothing is changed in the pod. Attempts of one step run at the same time, one child process for each user; steps run
one after the other, because the drop counters are read before and after each.
"""

from __future__ import annotations

import codecs
import ctypes
import hashlib
import importlib
import importlib.abc
import importlib.util
import ipaddress
import json
import os
import re
import secrets
import select
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from typing import Any

MOUNT = "/opt/bulkhead/bulkhead_agent"
READ = 512 * 1024  # bytes of an answer
COMMAND = 10.0  # seconds for ip, nft and bridge
STATE = {"mount": MOUNT, "sent": ""}  # where the pod's agent is, and the hash of the one that was sent
PACKAGE = "bulkhead_agent"
# First program of the exec: everything else comes as one line of standard input.
BOOT = (
    "import json,sys\n"
    "r=json.loads(sys.stdin.readline())\n"
    "exec(compile(r['code'],'bulkhead_remote','exec'),{'__name__':'bulkhead_remote','REQUEST':r})"
)


class _Memory(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the agent's modules from text."""

    def __init__(self, sources: Any) -> None:
        self.sources = sources

    def find_spec(self, name: Any, path: Any = None, target: Any = None) -> Any:
        package, dot, module = name.partition(".")
        if package != PACKAGE or f"{module or '__init__'}.py" not in self.sources:
            return None
        return importlib.util.spec_from_loader(name, self, is_package=not dot)

    def create_module(self, spec: Any) -> Any:
        return None

    def exec_module(self, module: Any) -> None:
        name = module.__name__.partition(".")[2] or "__init__"
        exec(compile(self.sources[f"{name}.py"], f"{PACKAGE}/{name}.py", "exec"), module.__dict__)


def agent(name: Any) -> Any:
    """One module of the agent."""
    return importlib.import_module(f"{PACKAGE}.{name}" if name else PACKAGE)


# -- facts ---------------------------------------------------------------------


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
    """Whether the live table is what the configuration asks for; only sets that change at run time may differ."""
    conf, rules, nft, tables = agent("config"), agent("rules"), agent("nft"), agent("tables")
    if STATE["sent"] != mounted_agent():
        return "older agent"
    client = config.get("role") == "client"
    parsed = conf.client(config) if client else conf.gateway(config)
    wanted = rules.guard_table(parsed) if client else rules.gateway_table(parsed)
    items = nft.listing("inet", table)
    seen, meant = nft.outline(items), tables.outline(wanted)
    for name in sorted(set(seen) | set(meant)):
        if seen.get(name) != meant.get(name):
            return f"chain {name} differs"
    for one in wanted.sets:
        if one.elements and nft._covered(one.elements) != nft._covered(nft.elements(items, one.name)):
            return f"set {one.name} differs"
    return "equal"


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
        "rendered": lambda: rendered(config, table),
        "routes": lambda: routes(request.get("routes") or {}),
        "addresses": addresses,
        "ping_groups": lambda: [int(word) for word in read("/proc/sys/net/ipv4/ping_group_range").split()],
        "resolv": lambda: read("/etc/resolv.conf"),
        "link": lambda: link("bulkhead0"),
        "mtu": lambda: link("bulkhead0")["mtu"],
        "fdb": lambda: run_json(["bridge", "-j", "fdb", "show", "dev", "bulkhead0"]),
        "neighbours": lambda: neighbours("bulkhead0"),
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


# -- attempts ------------------------------------------------------------------


def dropped(table: Any) -> Any:
    """Packets that the tables of this name refused on their way out so far."""
    nft, rules = agent("nft"), agent("rules")
    total = nft.counters(nft.listing("inet", table))[rules.DROPPED]
    try:
        total += nft.counters(nft.listing("netdev", table)).get(rules.DROPPED, 0)
    except agent("command").CommandError:
        pass  # no companion on this kernel
    return total


def stated_address(text: Any, target: Any) -> Any:
    """The first address in an answer that is not the target's own."""
    for word in re.findall(r"[0-9A-Fa-f:.]{3,45}", text):
        try:
            found = str(ipaddress.ip_address(word.strip(".:") if word.count(":") < 2 else word))
        except ValueError:
            continue
        if found != target:
            return found
    return ""


def receive_all(opened: Any, deadline: Any) -> Any:
    data = b""
    while len(data) < READ:
        left = deadline - time.monotonic()
        if left <= 0:
            raise socket.timeout
        opened.settimeout(left)
        more = opened.recv(65536)
        if not more:
            break
        data += more
    return data


def http(probe: Any, attempt: Any, entry: Any) -> Any:
    """GET with a nonce. Plain: the answer has to contain it. TLS: the certificate stands for the nonce."""
    deadline = time.monotonic() + attempt.timeout
    nonce = secrets.token_hex(entry.get("bulk", 16) // 2)
    secure = entry["kind"] == "https"
    host = entry.get("host") or attempt.target
    path, body = entry.get("path") or "/", ""
    if entry.get("bulk"):
        path, body = (f"/{nonce}", "") if entry.get("echo", "path") == "path" else (path, nonce)
    else:
        path += ("&" if "?" in path else "?") + "nonce=" + nonce
    with probe._open(attempt, socket.SOCK_STREAM) as plain:
        plain.connect((attempt.target, attempt.port))
        opened = ssl.create_default_context().wrap_socket(plain, server_hostname=host) if secure else plain
        head = f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAccept: */*\r\n"
        opened.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        answer = receive_all(opened, deadline).decode("utf-8", "replace")
        if secure:
            opened.close()
    if not answer:
        return {"outcome": "closed", "sent": 1}
    if not secure and nonce not in answer:
        return {"outcome": "wrong_answer", "sent": 1}
    body = answer.partition("\r\n\r\n")[2].replace(nonce, "")
    return {"outcome": "answered", "sent": 1, "seen": "" if entry.get("bulk") else stated_address(body, attempt.target)}


def whoami(probe: Any, attempt: Any, entry: Any) -> Any:
    """TXT query; below a zone of our own the label is a nonce, else it is a name that states who asked."""
    wire = agent("wire")
    deadline = time.monotonic() + attempt.timeout
    label = f"n{secrets.token_hex(8)}." if entry.get("zone") else ""
    query = wire.dns_query(secrets.randbelow(65536), label + (entry.get("zone") or entry["name"]), 16)
    stream = entry["kind"] == "dns_tcp"
    with probe._open(attempt, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM) as opened:
        if stream:
            opened.connect((attempt.target, attempt.port))
            opened.sendall(struct.pack("!H", len(query)) + query)
        else:
            probe._send(opened, attempt, query)
        data = b""
        while True:
            more = probe._receive(opened, deadline)
            data = data + more if stream else more
            whole = data[2:] if stream else data
            if stream and more and (len(data) < 2 or len(whole) < struct.unpack("!H", data[:2])[0]):
                continue
            reply = wire.dns_answer(query, whole)
            if reply is not None:
                stated = stated_address(" ".join(reply[1]), "")
                good = reply[0] == 0 and bool(stated)
                return {"outcome": "answered" if good else "wrong_answer", "sent": 1, "seen": stated}
            if stream:
                return {"outcome": "wrong_answer" if data else "closed", "sent": 1}


def one(entry: Any) -> Any:
    """Make one attempt; never raises for what the network or the kernel does."""
    probe = agent("probe")
    fields = ("target", "port", "method", "device", "source", "timeout", "size")
    kind = entry["kind"]
    made = {key: entry[key] for key in fields if key in entry}
    attempt = probe.Attempt(kind if kind in ("stun", "icmp", "udp") else "tcp", **made)
    started = time.monotonic()
    try:
        if kind in ("http", "https", "bulk"):
            result = http(probe, attempt, {**entry, "kind": "https" if entry.get("tls") else kind})
        elif kind in ("dns", "dns_tcp"):
            result = whoami(probe, attempt, entry)
        else:
            ended = probe.attempt_once(attempt)
            result = {"outcome": ended.outcome, "sent": ended.sent, "seen": ended.seen}
    except ssl.SSLCertVerificationError:
        result = {"outcome": "wrong_answer", "sent": 1, "detail": "certificate of somebody else"}
    except OSError as exc:
        result = {"outcome": probe.outcome_of(exc)}
    except Exception as exc:
        result = {"outcome": "tool", "detail": f"{type(exc).__name__}: {exc}"}
    return {**result, "seconds": round(time.monotonic() - started, 4)}


def become(uid: Any) -> None:
    """Become this user without capabilities; where the container may not change users, drop all capabilities only."""
    try:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    except PermissionError:
        header = struct.pack("=Ii", 0x20080522, 0)  # version 3, this process
        if ctypes.CDLL(None, use_errno=True).capset(header, struct.pack("=6I", *[0] * 6)):
            raise OSError(ctypes.get_errno(), "capset") from None


def in_child(entries: Any, uid: Any) -> Any:
    """All entries at the same time in one child process, as that user; its id and the pipe it answers on."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reader)
            if uid:
                become(uid)
            found = [{"outcome": "tool", "detail": "it did not end"} for _entry in entries]

            def keep(index: Any, entry: Any) -> None:
                found[index] = one(entry)

            threads = [
                threading.Thread(target=keep, args=(index, entry), daemon=True) for index, entry in enumerate(entries)
            ]
            for thread in threads:
                thread.start()
            end = time.monotonic() + max(entry.get("timeout", 2.0) for entry in entries) + 2
            for thread in threads:
                thread.join(max(0.0, end - time.monotonic()))
            with os.fdopen(writer, "w") as out:
                json.dump(
                    [{**result, "uid": os.getuid(), "privileged": not uid and os.getuid() == 0} for result in found],
                    out,
                )
            code = 0
        except BaseException as exc:
            try:
                os.write(writer, json.dumps({"error": f"{type(exc).__name__}: {exc}"}).encode())
            except OSError:
                pass
        finally:
            os._exit(code)
    os.close(writer)
    return child, reader


def collect(child: Any, reader: Any, count: Any, seconds: Any) -> Any:
    data, end = b"", time.monotonic() + seconds
    try:
        while True:
            left = end - time.monotonic()
            if left <= 0 or not select.select([reader], [], [], left)[0]:
                os.kill(child, 9)
                break
            more = os.read(reader, 65536)
            if not more:
                break
            data += more
    finally:
        os.close(reader)
        os.waitpid(child, 0)
    try:
        found = json.loads(data or b"null")
    except ValueError:
        found = None
    if isinstance(found, list) and len(found) == count:
        return found
    detail = found.get("error", "") if isinstance(found, dict) else "the probe's process ended early"
    return [{"outcome": "tool", "detail": detail}] * count


def step(entry: Any, table: Any) -> Any:
    """All attempts of one check, by each user, with what the counters rose by."""

    def count() -> Any:
        try:
            return dropped(table), ""
        except Exception as exc:
            return None, f"{type(exc).__name__}: {exc}"

    attempts, users = entry["attempts"], entry.get("uids") or [None]
    before, why = count() if table else (None, "there is no table here")
    started, clock = time.time(), time.monotonic()
    longest = max((one_.get("timeout", 2.0) for one_ in attempts), default=0.0)
    children = [(uid, *in_child(attempts, uid)) for uid in users] if attempts else []
    found = []
    for uid, child, reader in children:
        for tried, result in zip(attempts, collect(child, reader, len(attempts), longest + 4)):
            named = {"target": tried["id"], "kind": tried["kind"], "method": tried.get("method", "route")}
            found.append({**named, "uid": os.getuid() if uid is None else uid, "privileged": False, **result})
    after, why_after = count() if table else (None, why)
    made = {"attempts": found, "started": started, "ended": time.time(), "seconds": round(time.monotonic() - clock, 3)}
    if before is None or after is None:
        return {**made, "delta": None, "why": why or why_after}
    return {**made, "delta": after - before}


def answer(request: Any) -> Any:
    """Everything that is asked for."""
    sys.dont_write_bytecode = True
    sys.meta_path.insert(0, _Memory(request["sources"]))
    STATE.update(mount=request.get("mount", MOUNT), sent=hashed(request["sources"]))
    codecs.lookup("idna")  # sockets load it at first use, when another user may not read the library any more
    agent("probe")
    agent("wire")
    found = facts(request)
    mtu = found.get("mtu")
    steps = {}
    for entry in request.get("steps", ()):
        for tried in entry["attempts"]:
            if tried.pop("full_size", False) and isinstance(mtu, int):
                tried["size"] = mtu - 28  # headers of IPv4 and ICMP
        steps[entry["id"]] = step(entry, request.get("table", ""))
    return {"facts": found, "steps": steps}


def hashed(sources: Any) -> Any:
    digest = hashlib.sha256()
    for name in sorted(sources):
        data = sources[name].encode()
        digest.update(f"{name} {len(data)}\n".encode() + data)
    return digest.hexdigest()[:16]


if __name__ == "bulkhead_remote":
    # pylint: disable-next=ansible-bad-function,undefined-variable  # runs in a pod, with the request put in front
    print(json.dumps(answer(REQUEST)), flush=True)  # type: ignore[name-defined]  # noqa: F821
