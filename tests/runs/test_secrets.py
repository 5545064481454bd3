"""The VPN's keys are in the user's Secret and nowhere else where anybody could read them."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import attached
import pytest
from needles import Arguments, forms, search
from story import Story

KEY = base64.b64encode(bytes([255, 239, 190] + list(range(29)))).decode()  # with a slash and a plus
LINE = f"PresharedKey = {KEY}\n"


@pytest.mark.parametrize(
    "text",
    [
        KEY,
        f"x{KEY}y",
        json.dumps({"a": KEY}).replace("/", "\\/"),
        f"/api?key={quote(KEY, safe='')}",
        base64.b64decode(KEY).hex(),
        base64.urlsafe_b64encode(base64.b64decode(KEY)).decode(),
        *(base64.b64encode(("." * place + LINE).encode()).decode() for place in range(6)),
    ],
)
def test_the_search_finds(text: str) -> None:
    assert search({"key": KEY}, {"there": b"...", "here": text.encode()})
    assert {find.partition(":")[0] for find in search({"key": KEY}, {"there": b"...", "here": text.encode()})} == {
        "here"
    }


def test_the_search_finds_nothing_in_another_key() -> None:
    other = base64.b64encode(os.urandom(32)).decode()
    assert search({"key": KEY}, forms(other)) == []


def test_the_watch_sees_arguments() -> None:
    with Arguments() as watch:
        subprocess.run([sys.executable, "-c", "import time; time.sleep(0.5)", KEY], check=True)
    assert search({"key": KEY}, {"arguments": watch.text}) == ["arguments: key as text"]


def test_the_users_secret_is_found(story: Story, tmp_path: Path) -> None:
    """The same search over the one place where the keys belong, and over a file that has them."""
    assert set(story.secrets) == {"private key", "preshared key"}
    file = tmp_path / "file"
    file.write_text("\n".join(story.secrets.values()))
    finds = search(story.secrets, {"Secret": story.users_secret, "file": file.read_bytes()})
    for name in story.secrets:
        assert any(find.startswith(f"Secret: {name} as base64 at ") for find in finds)
        assert f"file: {name} as text" in finds


def test_the_sources_are_what_they_should_be(story: Story) -> None:
    """An empty source, or one of another run, would be searched in vain."""
    sources = story.sources
    for name in ("site", "verify", "teardown"):
        assert b"PLAY RECAP" in sources[f"output of {name}"]
        assert b"module_args" in sources[f"output of {name}"], "-vvv should show the options of modules"
    for namespace, pod, words in (
        (attached.VPN, attached.GATEWAY_POD, b"engine"),
        (attached.CLIENTS, attached.POD, b"bulkhead-guard"),
    ):
        assert words in sources[f"log of {namespace} pod/{pod}"]
    for words in (b"bulkhead-namespaces", b'"kind": "Secret"', b'"kind": "Event"', attached.GATEWAY.encode()):
        assert words in sources["objects"]
    assert f"/api/v1/namespaces/{attached.VPN}/secrets/provider".encode() in sources["audit log"]
    for words in (b"ansible-playbook", b"kube-apiserver", b"wireguard-go", b"bulkhead"):
        assert words in sources["arguments of processes"]
    assert any(name.startswith("log of the node's") for name in sources)
    watch = story.arguments
    assert watch.looks > 100 and watch.looks / watch.seconds > 5, f"{watch.looks} looks in {watch.seconds:.0f} s"


def test_the_keys_are_nowhere_else(story: Story) -> None:
    assert search(story.secrets, story.sources) == []
