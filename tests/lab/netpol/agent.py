"""Echo server and prober of one test pod; standard library only.

Listens on every port of AGENT_PORTS (comma-separated) over TCP and UDP, IPv4 and
IPv6, answers what it gets and remembers every line. On AGENT_CONTROL (default
9900) it takes orders over HTTP, bodies and answers are JSON:

POST /probe   {"probes": [{"id", "address", "port", "protocol", "timeout"}]} -> {"results": {id: bool}}
              protocol TCP, UDP or ICMP; timeout in seconds; true = the id came back
POST /flow    one probe: sends a line every 50 ms until /reset, over one socket
GET  /flows   {id: number of bytes that came back so far}
GET  /seen    every line that this pod's server received
POST /reset   ends flows, forgets lines
"""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PUSH = b"push "  # a line that begins so is answered every 50 ms for PUSH_SECONDS
PUSH_SECONDS = 5.0
STEP = 0.05

seen: list[str] = []
flows: dict[str, int] = {}
epoch = 0  # flows of an older epoch end


def remember(line: bytes) -> None:
    """Note a line that arrived, without the push mark."""
    seen.append(line.strip().removeprefix(PUSH).decode(errors="replace"))


def push(send: Any, line: bytes) -> None:
    """Answer one line again and again, as a server that streams does."""
    end = time.monotonic() + PUSH_SECONDS
    while time.monotonic() < end:
        try:
            send(line)
        except OSError:
            return
        time.sleep(STEP)


def answer(send: Any, line: bytes) -> None:
    """Answer one line through send."""
    remember(line)
    send(line)
    if line.startswith(PUSH):
        threading.Thread(target=push, args=(send, line), daemon=True).start()


def serve_connection(connection: socket.socket) -> None:
    """Echo the lines of one TCP connection until it ends."""
    with connection:
        buffer = b""
        while True:
            try:
                data = connection.recv(4096)
            except OSError:
                return
            if not data:
                return
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                try:
                    answer(connection.sendall, line + b"\n")
                except OSError:
                    return


def serve_tcp(port: int) -> None:
    """Accept TCP connections of both families."""
    server = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)
    while True:
        connection, _ = server.accept()
        threading.Thread(target=serve_connection, args=(connection,), daemon=True).start()


def serve_udp(port: int) -> None:
    """Echo datagrams of both families."""
    server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.bind(("::", port))
    while True:
        try:
            line, peer = server.recvfrom(4096)
            answer(lambda data, peer=peer: server.sendto(data, peer), line)
        except OSError:
            continue  # an ICMP error of an earlier answer


def family_of(address: str) -> socket.AddressFamily:
    """Tell the family of a literal address."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def receive_until(sock: socket.socket, wanted: bytes, end: float) -> bool:
    """Read until wanted arrives or the time is over."""
    buffer = b""
    while (left := end - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            data = sock.recv(4096)
        except TimeoutError:
            return False
        buffer += data
        if wanted in buffer:
            return True
        if not data:
            return False
    return False


def probe_tcp(probe: dict[str, Any], end: float) -> bool:
    """Connect, send the id, read it back."""
    with socket.create_connection((probe["address"], probe["port"]), timeout=probe["timeout"]) as sock:
        sock.sendall(probe["id"].encode() + b"\n")
        return receive_until(sock, probe["id"].encode(), end)


def probe_udp(probe: dict[str, Any], end: float) -> bool:
    """Send the id until it comes back; three tries, because a datagram may be lost."""
    with socket.socket(family_of(probe["address"]), socket.SOCK_DGRAM) as sock:
        sock.connect((probe["address"], probe["port"]))
        for _ in range(3):
            sock.send(probe["id"].encode() + b"\n")
            if receive_until(sock, probe["id"].encode(), min(end, time.monotonic() + probe["timeout"] / 3)):
                return True
    return False


def checksum(data: bytes) -> int:
    """Compute the Internet checksum of an even number of bytes."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def probe_icmp(probe: dict[str, Any], end: float) -> bool:
    """Send an echo request that carries the id, read the reply."""
    payload = probe["id"].encode() + b" " * (len(probe["id"]) % 2)
    if family_of(probe["address"]) == socket.AF_INET:
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        request, reply, header = 8, 0, 20
    else:  # the kernel fills in the checksum and strips the IP header
        sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        request, reply, header = 128, 129, 0
    with sock:
        number = threading.get_native_id() & 0xFFFF
        packet = struct.pack("!BBHHH", request, 0, 0, number, 1) + payload
        if header:
            packet = struct.pack("!BBHHH", request, 0, checksum(packet), number, 1) + payload
        sock.sendto(packet, (probe["address"], 0))
        while (left := end - time.monotonic()) > 0:
            sock.settimeout(left)
            data = sock.recv(4096)[header:]
            if data[:1] == bytes([reply]) and payload in data:
                return True
    return False


def run_probe(probe: dict[str, Any]) -> bool:
    """Run one probe; whatever fails counts as no answer."""
    kind = {"TCP": probe_tcp, "UDP": probe_udp, "ICMP": probe_icmp}[probe["protocol"]]
    try:
        return kind(probe, time.monotonic() + probe["timeout"])
    except OSError:
        return False


def run_flow(probe: dict[str, Any]) -> None:
    """Keep one connection busy and count what comes back, until the epoch ends."""
    mine, line = epoch, probe["id"].encode() + b"\n"
    kind = socket.SOCK_STREAM if probe["protocol"] == "TCP" else socket.SOCK_DGRAM
    with socket.socket(family_of(probe["address"]), kind) as sock:
        try:
            sock.settimeout(3)
            sock.connect((probe["address"], probe["port"]))
            sock.send(PUSH + line)
        except OSError:
            return
        sock.setblocking(False)
        while epoch == mine:
            try:
                sock.send(line)
            except OSError:
                pass
            time.sleep(STEP)
            try:
                while (data := sock.recv(65536)) and epoch == mine:
                    flows[probe["id"]] += len(data)
            except OSError:
                pass


class Control(BaseHTTPRequestHandler):
    """The orders over HTTP."""

    def log_message(self, *_: Any) -> None:
        """Keep the pod's log empty."""

    def reply(self, body: Any) -> None:
        """Answer with JSON."""
        text = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self) -> None:
        """Report."""
        self.reply({"/seen": seen, "/flows": flows}.get(self.path, {}))

    def do_POST(self) -> None:
        """Obey."""
        global epoch
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        if self.path == "/probe":
            with ThreadPoolExecutor(max_workers=max(1, len(body["probes"]))) as pool:
                answers = list(pool.map(run_probe, body["probes"]))
            self.reply({"results": {p["id"]: a for p, a in zip(body["probes"], answers, strict=True)}})
        elif self.path == "/flow":
            flows[body["id"]] = 0
            threading.Thread(target=run_flow, args=(body,), daemon=True).start()
            self.reply({})
        elif self.path == "/reset":
            epoch += 1
            flows.clear()
            seen.clear()
            self.reply({})
        else:
            self.send_error(404)


class Server(ThreadingHTTPServer):
    """The control server, over IPv4 and IPv6."""

    address_family = socket.AF_INET6
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind for both families."""
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def main() -> None:
    """Serve until killed."""
    for port in map(int, os.environ["AGENT_PORTS"].split(",")):
        threading.Thread(target=serve_tcp, args=(port,), daemon=True).start()
        threading.Thread(target=serve_udp, args=(port,), daemon=True).start()
    Server(("::", int(os.environ.get("AGENT_CONTROL", "9900"))), Control).serve_forever()


if __name__ == "__main__":
    main()
