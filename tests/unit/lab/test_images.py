"""Which image of a user's archive takes the place of one of ours."""

from __future__ import annotations

import pytest

from bulkhead_lab import nodeinit

SAID = "unpacking {} (sha256:0123456789abcdef)...done\n"


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("docker.io/istio/ztunnel:1.31.1-distroless", "lab.local/istio/ztunnel:1.31.1"),
        ("registry.example:5000/release/proxyv2:1.31.1", "lab.local/istio/proxyv2:1.31.1"),
        ("lab.local/istio/ztunnel:1.31.1", None),  # has the name already
        ("docker.io/qmcgaw/gluetun:v3", None),
        ("docker.io/someone/my-ztunnel:1", None),
    ],
)
def test_a_users_image_takes_the_place_of_ours(reference: str, expected: str | None) -> None:
    assert nodeinit.stand_ins(SAID.format(reference)) == ({reference: expected} if expected else {})


def test_every_image_of_an_archive_counts() -> None:
    said = SAID.format("a.example/pilot:1") + SAID.format("a.example/b:1") + SAID.format("a.example/ztunnel:1")
    assert list(nodeinit.stand_ins(said)) == ["a.example/pilot:1", "a.example/ztunnel:1"]
