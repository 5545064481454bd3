"""Keys and configuration files of the outside world's WireGuard servers and their clients."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from . import net, plan

MTU = 1420  # bytes; WireGuard's own overhead is 80 at most
KEEPALIVE = 15  # seconds


@dataclass(frozen=True)
class KeyPair:
    """A WireGuard key pair, base64. The private half goes into files of mode 0600 only."""

    private: str
    public: str

    def __repr__(self) -> str:
        return f"KeyPair(public={self.public!r})"


def folder(state: Path, server: plan.VpnServer) -> Path:
    """Where a server's files lie: server.conf, clientN.conf and the keys."""
    return state / "vpn" / server.name


def device(server: plan.VpnServer) -> str:
    """The server's tunnel device."""
    return f"wg-{server.name}"


def inner(server: plan.VpnServer, number: int) -> tuple[str, str]:
    """Inner addresses: number 0 is the server, N the client N."""
    v4, v6 = ipaddress.ip_network(server.inner4), ipaddress.ip_network(server.inner6)
    return str(v4[number + 1]), str(v6[number + 1])


def server_conf(server: plan.VpnServer, own: KeyPair, clients: list[KeyPair]) -> str:
    """The server's configuration, in the form of ``wg syncconf``."""
    text = f"[Interface]\nPrivateKey = {own.private}\nListenPort = {server.port}\n"
    for number, client in enumerate(clients, 1):
        v4, v6 = inner(server, number)
        text += f"\n[Peer]\nPublicKey = {client.public}\nAllowedIPs = {v4}/32, {v6}/128\n"
    return text


def client_conf(server: plan.VpnServer, number: int, own: KeyPair, peer: KeyPair) -> str:
    """What a VPN provider hands to its client ``number``, in the form of wg-quick."""
    v4, v6 = inner(server, number)
    return f"""[Interface]
PrivateKey = {own.private}
Address = {v4}/32, {v6}/128
DNS = {plan.TARGET4}

[Peer]
PublicKey = {peer.public}
Endpoint = {server.address4}:{server.port}
AllowedIPs = 0.0.0.0/0, ::/0
PersistentKeepalive = {KEEPALIVE}
"""


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, also if it was there with another mode."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as handle:
        os.fchmod(descriptor, 0o600)
        handle.write(text)


def key_pair(path: Path) -> KeyPair:
    """The key pair whose private half is in ``path``, made when there is none. Keys pass through pipes only."""
    if not path.exists():
        write_private(path, net.run(["wg", "genkey"]))
    private = path.read_text().strip()
    return KeyPair(private, net.run(["wg", "pubkey"], text=f"{private}\n").strip())


def write(state: Path, server: plan.VpnServer) -> None:
    """Keys (once) and configuration files of a server and its clients."""
    place = folder(state, server)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    own = key_pair(place / "server.key")
    clients = [key_pair(place / f"client{number}.key") for number in range(1, server.clients + 1)]
    write_private(place / "server.conf", server_conf(server, own, clients))
    for number, client in enumerate(clients, 1):
        write_private(place / f"client{number}.conf", client_conf(server, number, client, own))
