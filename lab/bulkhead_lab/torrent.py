"""The file that the lab's BitTorrent peer seeds, its .torrent, and the tracker's answers. Pure."""

from __future__ import annotations

import hashlib
import ipaddress
from typing import Any

from . import plan

PAYLOAD_NAME = "bulkhead-lab-payload.bin"
PAYLOAD_SIZE = 50_000_000  # bytes
PIECE_SIZE = 262_144  # bytes
ANNOUNCE = f"http://{plan.TARGET4}:{plan.TRACKER_PORT}/announce"
_SEED = b"bulkhead.mesh lab payload 1"


def payload(size: int = PAYLOAD_SIZE) -> bytes:
    """The file's content: SHAKE-256 of a fixed seed, the same everywhere and not compressible."""
    return hashlib.shake_256(_SEED).digest(size)


def bencode(value: Any) -> bytes:
    """Bencode integers, text (as UTF-8), bytes, lists and dictionaries with text or bytes keys; TypeError for others."""
    if isinstance(value, bool):
        raise TypeError("bencode knows no booleans: give 0 or 1")
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, list):
        return b"l" + b"".join(bencode(item) for item in value) + b"e"
    if isinstance(value, dict):
        # Keys are ordered by their bytes, which is not always the order of the text.
        items = sorted((key.encode() if isinstance(key, str) else key, item) for key, item in value.items())
        return b"d" + b"".join(bencode(key) + bencode(item) for key, item in items) + b"e"
    raise TypeError(f"bencode has no form for {type(value).__name__}")


def bdecode(data: bytes) -> Any:
    """The one value that ``data`` holds, text as bytes; ValueError when it is malformed, cut short or followed by more."""
    try:
        value, end = _decode(data, 0)
    except (IndexError, RecursionError) as exc:
        raise ValueError(f"bencoded data of {len(data)} bytes is cut short") from exc
    if end != len(data):
        raise ValueError(f"bencoded data goes on after its end at byte {end}")
    return value


def _decode(data: bytes, at: int) -> tuple[Any, int]:
    kind = data[at : at + 1]
    if kind == b"i":
        end = data.index(b"e", at)
        return int(data[at + 1 : end]), end + 1
    if kind in (b"l", b"d"):
        items: list[Any] = []
        at += 1
        while data[at] != ord("e"):
            item, at = _decode(data, at)
            items.append(item)
        if kind == b"l":
            return items, at + 1
        return dict(zip(items[::2], items[1::2], strict=True)), at + 1
    if not kind.isdigit():
        raise ValueError(f"bencoded data has {kind!r} at byte {at}, where a value begins")
    colon = data.index(b":", at)
    end = colon + 1 + int(data[at:colon])
    if end > len(data):
        raise ValueError(f"bencoded data of {len(data)} bytes is cut short")
    return data[colon + 1 : end], end


def info(content: bytes, name: str = PAYLOAD_NAME) -> dict[str, Any]:
    """The torrent's info dictionary; private, so that peers are found by the tracker alone (no DHT, PEX, LSD)."""
    pieces = (content[start : start + PIECE_SIZE] for start in range(0, len(content), PIECE_SIZE))
    return {
        "length": len(content),
        "name": name,
        "piece length": PIECE_SIZE,
        "pieces": b"".join(hashlib.sha1(piece).digest() for piece in pieces),
        "private": 1,
    }


def torrent(content: bytes) -> bytes:
    """The .torrent file."""
    return bencode({"announce": ANNOUNCE, "info": info(content)})


def info_hash(data: bytes) -> str:
    """Info hash of a .torrent file, as 40 hex digits."""
    return hashlib.sha1(bencode(bdecode(data)[b"info"])).hexdigest()


def peers(answer: bytes) -> list[str]:
    """Peer addresses in a tracker's answer (compact form, BEP 23 and BEP 7), sorted, each once.

    ValueError when the tracker refused or the answer is malformed.
    """
    decoded = bdecode(answer)
    if not isinstance(decoded, dict):
        raise ValueError("the tracker's answer is not a dictionary")
    if b"failure reason" in decoded:
        raise ValueError(f"the tracker refused: {decoded[b'failure reason'].decode(errors='replace')}")
    found: set[ipaddress.IPv4Address | ipaddress.IPv6Address] = set()
    for key, length in ((b"peers", 4), (b"peers6", 16)):
        compact = decoded.get(key, b"")
        if not isinstance(compact, bytes) or len(compact) % (length + 2):
            raise ValueError(f"the tracker's {key.decode()} are not in the compact form")
        for at in range(0, len(compact), length + 2):
            found.add(ipaddress.ip_address(compact[at : at + length]))
    return [str(address) for address in sorted(found, key=lambda one: (one.version, int(one)))]
