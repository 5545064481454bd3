# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several nodes: twins for each, nothing counts elsewhere, and real addresses of every node concerned are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks import _registry, _verdict
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._evidence import Twins
from ansible_collections.bulkhead.mesh.plugins.module_utils._checks._result import Missing
from ansible_collections.bulkhead.mesh.plugins.module_utils._killswitch import _places, _read
from ansible_collections.bulkhead.mesh.tests.unit.plugins.module_utils.checks import evidence as e

POLICY = {"metadata": {"name": "own", "namespace": "downloads"}, "spec": {}}


def pod(name: str, node: str | None, namespace: str = "downloads") -> dict[str, Any]:
    return {"metadata": {"namespace": namespace, "name": name}, "spec": {"nodeName": node}}


def node(name: str, *kinds: str) -> dict[str, Any]:
    addresses = [{"type": kind, "address": f"192.0.2.{len(name)}"} for kind in kinds or ("InternalIP",)]
    return {"kind": "Node", "metadata": {"name": name}, "status": {"addresses": addresses}}


def need(key: str, *pods: Any, image: str | None = "agent") -> _places.Need:
    return _places.Need(key, pods, POLICY, image)


def test_one_group_for_each_namespace_and_node() -> None:
    needs = [
        need("downloads.a", pod("a-0", "n1"), pod("a-1", "n2"), pod("a-2", "n2"), pod("a-3", None)),
        need("downloads.b", pod("b-0", "n2")),
        need("gateway/north", pod("north-0", "n2", "vpn")),
        need("downloads.c", pod("c-0", "n3"), image=None),
    ]
    found = {(one.namespace, one.node): list(one.policies) for one in _places.groups(needs, [])}
    assert found == {
        ("downloads", "n1"): ["downloads.a"],
        ("downloads", "n2"): ["downloads.a", "downloads.b"],
        ("vpn", "n2"): ["gateway/north"],
    }


@pytest.mark.parametrize(
    ("spec", "namespace", "limited"),
    [
        ({"podSelector": {}, "policyTypes": ["Egress"]}, "downloads", True),
        ({"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "egress": [{}]}, "downloads", True),
        ({"podSelector": {}, "policyTypes": ["Ingress"]}, "downloads", False),
        ({"podSelector": {"matchLabels": {"app": "x"}}, "policyTypes": ["Egress"]}, "downloads", False),
        (
            {
                "podSelector": {"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]},
                "policyTypes": ["Egress"],
            },
            "downloads",
            True,
        ),
        ({"podSelector": {}, "policyTypes": ["Egress"]}, "vpn", False),
    ],
)
def test_a_namespace_that_lets_nothing_out_is_known(spec: Any, namespace: str, limited: bool) -> None:
    policy = {"metadata": {"name": "deny", "namespace": namespace}, "spec": spec}
    (group,) = _places.groups([need("a", pod("a-0", "n1"))], [policy])
    assert group.limited is limited


SHOWN = {("downloads.a", "n1"): e.TWINS, ("downloads.a", "n2"): Missing("node n2: exceeded quota")}


def test_twins_count_on_their_own_node_only() -> None:
    assert _places.twins_for("downloads.a", pod("a-0", "n1"), SHOWN, True) is e.TWINS
    for where, why in (
        ("n2", "node n2: exceeded quota"),
        ("n3", "no twins were made on node n3"),
        (None, "on no node yet"),
    ):
        found = _places.twins_for("downloads.a", pod("a-1", where), SHOWN, True)
        assert isinstance(found, Missing) and why in found
    other = _places.twins_for("downloads.b", pod("b-0", "n1"), SHOWN, True)
    assert isinstance(other, Missing)


def gaps(
    *pods: Any, nodes: Any = ("n1", "n2"), shown: Any = None, asked: bool = True, why: Any = None
) -> tuple[str, ...]:
    seen = _read.Seen([node(one) for one in nodes], why or {})
    return _places.gaps(pods, seen, SHOWN if shown is None else shown, asked)


def test_real_addresses_of_every_node_have_to_be_known() -> None:
    assert gaps(pod("a-0", "n1")) == ()
    (told,) = gaps(pod("a-0", "n1"), pod("a-1", "n2"))
    assert told == "no unprotected twin on node n2 saw an address: node n2: exceeded quota"
    assert gaps(pod("a-0", "n1"), pod("a-1", "n2"), asked=False) == ()
    (unread,) = gaps(pod("a-0", "n1"), nodes=("n2",))
    assert unread == "the addresses of node n1 cannot be read"
    (refused,) = gaps(pod("a-0", "n1"), why={("Node", ""): "not able to list nodes (status 403: forbidden)"})
    assert "not able to list nodes" in refused
    assert gaps(pod("a-0", None)) == ()


def test_a_twin_that_saw_no_address_is_no_vantage() -> None:
    dead = replace(e.TWINS, control=Missing("exec refused"))
    for shown in ({}, {("downloads.a", "n1"): dead}):
        (told,) = gaps(pod("a-0", "n1"), shown=shown)
        assert told.startswith("no unprotected twin on node n1 saw an address: ")
    # Any of the node will do: they all leave by it.
    assert gaps(pod("a-0", "n1"), shown={("downloads.a", "n1"): dead, ("gateway/north", "n1"): e.TWINS}) == ()


def test_a_node_without_addresses() -> None:
    seen = _read.Seen([node("n1", "Hostname")], {})
    assert _places.gaps([pod("a-0", "n1")], seen, {("a", "n1"): e.TWINS}, True) == (
        "the addresses of node n1 cannot be read",
    )


def test_the_verdict_says_which_node_is_not_proven() -> None:
    """Recorded evidence of two pods on two nodes, with twins on one of them."""
    far = e.with_pod(e.GOOD, lambda one: one["spec"].update(nodeName="n2"))
    near, pods = e.GOOD, {}
    for name, evidence in (("downloads/app-0", near), ("downloads/app-1", far)):
        shown = _places.twins_for("downloads.a", evidence.pod, SHOWN, True)
        assert isinstance(shown, (Twins, Missing))
        pods[name] = _registry.run(replace(evidence, target=name, twins=shown), _registry.CLIENT, "PAC")
    nodes = {one.node for results in pods.values() for one in results}
    assert nodes == {"n1", "n2"}
    gateway = {"north": _registry.run(e.GATEWAY, _registry.GATEWAY, "PAC")}
    verdict = _verdict.judge(pods, gateway)
    # Without twins there nobody saw a leak where there is one, so the guard is not proven on that node either.
    assert (verdict.verdict, verdict.layers["policy"], verdict.layers["guard"]) == ("unknown", "unknown", "unknown")
    assert "policy unknown on node n2" in verdict.reason and "n1" not in verdict.reason
    assert any(one == "np-enforced (downloads/app-1)" for one in verdict.unproven)
    assert not any("app-0" in one for one in verdict.unproven)
