# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The mesh beside the VPN: one thing changed at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._evidence import Record
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import Missing
from ansible_collections.bulkhead.mesh.tests.unit.plugins.module_utils.checks import evidence as e

NOTHING = {"redirects": [], "backend": ""}


def view(**changes: Any) -> Any:
    return replace(e.GOOD, mesh=replace(e.MESH, **changes))


def rules(*ports: int, on: Any = e.GOOD) -> Any:
    return e.with_fact(on, "mesh", {"redirects": list(ports), "backend": "iptables"})


def annotated(on: Any, **values: str | None) -> Any:
    def change(pod: Any) -> None:
        for key, value in values.items():
            name = f"ambient.istio.io/{key.replace('_', '-')}"
            held = pod["metadata"].setdefault("annotations", {})
            if value is None:
                held.pop(name, None)
            else:
                held[name] = value

    return e.with_pod(on, change)


def plain() -> Any:
    """A client that is not in a mesh, and nothing says that it should be."""
    bare = annotated(e.with_fact(e.GOOD, "mesh", NOTHING), redirection=None, dns_capture=None)
    return replace(bare, mesh=replace(e.MESH, declared=False, dataplane="", ports={}, peers={}))


def logged(*records: Record) -> Any:
    return view(records=records)


def unlabelled() -> Any:
    return e.with_pod(e.GATEWAY, lambda pod: pod["metadata"].pop("labels"))


TABLE = [
    # the names of an attached pod
    ("dns-capture-off", "fail", lambda: rules(15001, 15006, 15053)),
    ("dns-capture-off", "fail", lambda: annotated(e.GOOD, dns_capture=None)),
    ("dns-capture-off", "fail", lambda: annotated(e.GOOD, dns_capture="true")),
    ("dns-capture-off", "fail", lambda: rules(15053, on=plain())),
    ("dns-capture-off", "unknown", lambda: e.with_fact(e.GOOD, "mesh", {"error": "OSError: nft"})),
    ("dns-capture-off", "unknown", lambda: replace(e.GOOD, mesh=Missing("API error"))),
    ("dns-capture-off", "pass", plain),
    # in or out
    ("mesh-enrolled", "fail", lambda: e.with_fact(e.GOOD, "mesh", NOTHING)),
    ("mesh-enrolled", "fail", lambda: rules(15006)),
    ("mesh-enrolled", "fail", lambda: annotated(e.GOOD, redirection=None)),
    ("mesh-enrolled", "fail", lambda: annotated(e.GOOD, redirection="pending")),
    ("mesh-enrolled", "fail", lambda: rules(15001, on=plain())),
    ("mesh-enrolled", "fail", lambda: annotated(plain(), redirection="enabled")),
    ("mesh-enrolled", "unknown", lambda: e.with_fact(e.GOOD, "mesh", None)),
    ("mesh-enrolled", "pass", plain),
    ("mesh-rules", "fail", lambda: rules(15001, 15006, 9999)),
    ("mesh-rules", "fail", lambda: rules(4143, on=plain())),
    ("mesh-rules", "skipped", plain),
    # probes of the kubelet
    (
        "mesh-probe",
        "fail",
        lambda: e.with_pod(e.GOOD, lambda pod: pod["status"]["conditions"][0].update(status="False")),
    ),
    ("mesh-probe", "unknown", lambda: e.with_pod(e.GOOD, lambda pod: pod["status"].pop("conditions"))),
    ("mesh-probe", "unknown", lambda: view(probe_addresses=Missing("403"))),
    ("mesh-probe", "skipped", plain),
    # other ways out
    ("mesh-se-audit", "fail", lambda: view(audit=("ServiceEntry core/all has the networks 0.0.0.0/0",))),
    ("mesh-se-audit", "unknown", lambda: view(audit=Missing("403"))),
    ("mesh-se-audit", "skipped", plain),
    # calls through it
    ("mesh-out", "fail", lambda: logged(Record(40001, "", ""))),
    ("mesh-out", "fail", lambda: logged(Record(40001, "downloads/default", ""))),
    ("mesh-out", "fail", lambda: logged(Record(40001, "downloads/default", "core/somebody"))),
    ("mesh-out", "fail", lambda: logged(Record(40001, *e.IN))),
    ("mesh-out", "fail", lambda: logged(Record(40001, *e.OUT), Record(40001, "", ""))),
    ("mesh-out", "unknown", logged),
    ("mesh-out", "unknown", lambda: logged(Record(40009, *e.OUT))),
    ("mesh-out", "unknown", lambda: view(records=Missing("403"))),
    ("mesh-out", "unknown", lambda: view(ports={"mesh-out": ()})),
    ("mesh-out", "unknown", lambda: view(ports={"mesh-out": Missing("a call ended with timeout")})),
    ("mesh-out", "skipped", lambda: view(ports={})),
    ("mesh-out", "skipped", plain),
    ("mesh-in", "fail", lambda: logged(Record(40002, "other/default", "downloads/default"))),
    ("mesh-in", "unknown", lambda: view(ports={"mesh-in": Missing("quota")})),
    ("mesh-in", "skipped", plain),
    # the gateway
    ("mesh-gw-none", "fail", lambda: annotated(e.GATEWAY, redirection="enabled")),
    ("mesh-gw-none", "fail", lambda: annotated(e.GATEWAY, redirection="pending")),
    ("mesh-gw-none", "fail", unlabelled),
    ("mesh-gw-none", "fail", lambda: replace(e.GATEWAY, namespace_mode="ambient")),
    ("mesh-gw-none", "fail", lambda: rules(15001, on=e.GATEWAY)),
    ("mesh-gw-none", "unknown", lambda: e.with_fact(e.GATEWAY, "mesh", {"error": "OSError: nft"})),
    ("mesh-gw-none", "unknown", lambda: replace(e.GATEWAY, namespace_mode=Missing("403"))),
    ("mesh-gw-none", "unknown", lambda: replace(e.GATEWAY, pods=())),
    ("mesh-gw-none", "pass", lambda: replace(e.GATEWAY, namespace_mode="")),
]


@pytest.mark.parametrize(("check", "expected", "changed"), TABLE)
def test_one_thing_changed(check: str, expected: str, changed: Any) -> None:
    found = e.results(changed())[check]
    assert found.result == expected, found
    assert found.reason or expected == "pass"


def test_results_name_the_data_plane_they_rest_on() -> None:
    for evidence in (e.GOOD, e.GATEWAY):
        for one in e.results(evidence).values():
            assert one.dataplane == ("ztunnel" if one.layer == "mesh" else ""), one
    standing_in = e.results(view(dataplane="stand-in"))
    assert standing_in["mesh-out"].to_dict()["dataplane"] == "stand-in"


def test_a_client_without_a_mesh_is_judged_as_before() -> None:
    found = e.results(plain())
    assert {name for name, one in found.items() if one.result not in ("pass", "skipped")} == set()
