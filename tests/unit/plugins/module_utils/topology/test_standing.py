# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._topology import _standing, _words

NOW = datetime(2026, 11, 21, 18, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
KEY = ("StatefulSet", "downloads", "qbittorrent")
DAY = 24 * 3600.0


def entry(**more: Any) -> dict[str, Any]:
    plain = {"verdict": "protected", "gateway": "north", "layers": {"guard": "holds"}, "reason": "two layers hold"}
    return {"kind": KEY[0], "namespace": KEY[1], "name": KEY[2], "acceptable": True, "reasons": [], **plain, **more}


def report(*clients: Any, time: Any = "2026-11-21T17:00:00Z", **more: Any) -> str:
    return json.dumps({"clients": list(clients), "checks": [], "time": time, **more})


def live(**more: Any) -> _standing.Live:
    plain = {"attached": True, "gateway": "north", "pods": ["qbittorrent-0"], "newest": NOW - 2 * HOUR}
    return _standing.Live(**{**plain, **more})


def judge(seen: _standing.Live | None = None, text: str | None = None) -> _standing.Standing:
    proof = _standing.proof(report(entry()) if text is None else text)
    return _standing.judge(KEY, seen or live(), proof, NOW, DAY)


def test_a_fresh_proof_of_what_runs_is_believed() -> None:
    found = judge()
    assert (found.state, found.stale, found.layers) == ("protected", False, {"guard": "holds"})


@pytest.mark.parametrize(
    "seen, state, words",
    [
        ({"unread": "not able to list pods"}, "unknown", "not able to list pods"),
        ({"exists": False}, "missing", "no such workload"),
        ({"unguarded": ["qbittorrent-0"]}, "unprotected", "qbittorrent-0 runs without the guard"),
        ({"unguarded": ["qbittorrent-0"], "attached": False}, "unprotected", "leaves by the node"),
        ({"open": ["pod downloads/again-0 uses its image"]}, "unprotected", "again-0 uses its image"),
        ({"open": ["pod downloads/again-0 uses its image"], "pods": []}, "unprotected", "again-0 uses its image"),
        ({"left": ["Pod downloads/qbittorrent-0 is left behind"]}, "unknown", "is left behind"),
        ({"unseen": "not able to list replicasets"}, "unknown", "not able to list replicasets"),
        ({"attached": False}, "unknown", "its pod template has no guard"),
        ({"pods": []}, "stopped", "no pod runs"),
        ({"pods": [], "attached": False}, "stopped", "not attached"),
        ({"gateway": "south"}, "unknown", "about gateway north, it is behind south"),
        ({"newest": NOW}, "unknown", "newer than the last proof"),
        ({"newest": None}, "unknown", "newer than the last proof"),
    ],
)
def test_what_runs_now_wins_over_a_good_report(seen: dict[str, Any], state: str, words: str) -> None:
    found = judge(live(**seen))
    assert found.state == state and words in found.reason
    assert not found.layers


@pytest.mark.parametrize(
    "text, state, words",
    [
        (report(), "never_verified", "the report does not name it"),
        (report(entry(name="other")), "never_verified", "the report does not name it"),
        ("{", "unknown", "not a report of killswitch_check"),
        ("[]", "unknown", "not a report of killswitch_check"),
        (json.dumps({"clients": [{}], "checks": []}), "unknown", "not a report of killswitch_check"),
        (report(entry(verdict="perfect")), "unknown", "a verdict that does not exist: perfect"),
        (report(entry(), time=None), "unknown", "does not say when it was made"),
        (report(entry(), time="yesterday"), "unknown", "does not say when it was made"),
        (report(entry(), time="2026-11-21T19:00:00Z"), "unknown", "is from the future"),
        (report(entry(verdict="unknown", reason="no target")), "unknown", "no target"),
        (report(entry(verdict="protected_single_layer")), "protected_single_layer", ""),
        (report(entry(verdict="unprotected")), "unprotected", ""),
    ],
)
def test_reports(text: str, state: str, words: str) -> None:
    found = judge(text=text)
    assert found.state == state and words in found.reason


def test_no_report_is_never_verified() -> None:
    found = _standing.judge(KEY, live(), _standing.proof(None), NOW, DAY)
    assert (found.state, found.reason) == ("never_verified", "no report was given")
    unusable = _standing.judge(KEY, live(), _standing.proof(None, "it cannot be read"), NOW, DAY)
    assert unusable.state == "unknown" and "it cannot be read" in unusable.reason


def test_bad_news_do_not_grow_old() -> None:
    text = report(entry(verdict="unprotected"), time="2026-11-01T00:00:00Z")
    assert judge(live(newest=NOW), text).state == "unprotected"
    assert judge(text=report(entry(verdict="unprotected"), time=None)).state == "unprotected"


def test_a_stale_proof_is_marked_and_not_good() -> None:
    seen = live(newest=NOW - 100 * HOUR)
    for time, stale in (("2026-11-20T18:00:00Z", False), ("2026-11-20T17:59:59Z", True)):
        found = judge(seen, report(entry(), time=time))
        assert (found.state, found.stale) == ("protected", stale)
        tone = _words.client_badge(vars(found)).tone
        assert (tone == _words.GOOD) is not stale


@pytest.mark.parametrize("acceptable", [False, None, "yes"])
def test_what_is_not_as_required_is_not_good(acceptable: Any) -> None:
    found = judge(text=report(entry(acceptable=acceptable, reasons=["mesh-enrolled failed"])))
    assert (found.state, found.as_required, found.reason) == ("protected", False, "mesh-enrolled failed")
    badge = _words.client_badge(vars(found))
    assert badge.tone == _words.WARN and badge.words == "protected, not as required"


def test_times_are_compared_in_utc() -> None:
    assert _standing.moment("2026-11-21T19:00:00+01:00") == NOW
    assert _standing.moment("2026-11-21T18:00:00") == NOW
    assert _standing.moment(None) is None
    assert _standing.proof(report(time="2026-11-21T18:04:00Z")).age(NOW) == 0.0
    assert _standing.proof(report(time="2026-11-21T18:06:00Z")).age(NOW) is None
