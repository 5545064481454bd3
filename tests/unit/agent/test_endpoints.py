# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import http.client
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._agent import __main__ as entry
from ansible_collections.bulkhead.mesh.plugins.module_utils._agent import config as conf
from ansible_collections.bulkhead.mesh.plugins.module_utils._agent import endpoints, peering
from ansible_collections.bulkhead.mesh.plugins.module_utils._agent.command import AgentError

QBIT = {"namespace": "downloads", "first_index": 10, "size": 2}
SAB = {"namespace": "media", "first_index": 20, "size": 1}
DATA: dict[str, Any] = {
    "gateways": {
        "vpnarr": {
            "network": "10.222.1.0/24",
            "vni": 7001,
            "port": 14789,
            "clients": {"downloads.qbit": QBIT, "media.sab": SAB},
        }
    }
}
REGISTRY = peering.parse_registry(json.dumps(DATA))


def pod(name: str, ip: str | None, labels: dict[str, str], **more: Any) -> dict[str, Any]:
    """A pod as the API lists it; ``more``: phase, deleted, created, uid, annotations, ips, containers."""
    namespace, dummy, short = name.partition("/")
    metadata: dict[str, Any] = {
        "namespace": namespace,
        "name": short,
        "uid": more.get("uid", f"uid-{short}"),
        "creationTimestamp": more.get("created", "2026-01-01T00:00:00Z"),
        "labels": labels,
        "annotations": more.get("annotations", {}),
    }
    if more.get("deleted"):
        metadata["deletionTimestamp"] = "2026-01-02T00:00:00Z"
    status: dict[str, Any] = {"phase": more.get("phase", "Running"), "containerStatuses": more.get("containers")}
    if ip:
        status.update(podIP=ip, podIPs=[{"ip": one} for one in more.get("ips", [ip])])
    return {"metadata": metadata, "status": status}


def gateway(name: str = "vpn/vpnarr-0", ip: str | None = "10.244.0.2", **more: Any) -> dict[str, Any]:
    return pod(name, ip, {"bulkhead.mesh/role": "gateway", "bulkhead.mesh/vpn-gateway": "vpnarr"}, **more)


def client(name: str = "downloads/qbit-0", ip: str | None = "10.244.0.7", **more: Any) -> dict[str, Any]:
    who = more.pop("client", "downloads.qbit")
    which = more.pop("gateway", "vpnarr")
    return pod(name, ip, {"bulkhead.mesh/vpn-client": who, "bulkhead.mesh/vpn-gateway": which}, **more)


def decide(gateways: Any, *clients: Any, blind: tuple[str, ...] = (), registry: Any = REGISTRY) -> dict[str, Any]:
    """Annotations by pod; namespaces in ``blind`` could not be read."""
    by_namespace: dict[str, Any] = {name: [] for name in ("downloads", "media")}
    for item in clients:
        by_namespace[item["metadata"]["namespace"]].append(peering.parse_pod(item))
    by_namespace.update(dict.fromkeys(blind))
    listed = None if gateways is None else [peering.parse_pod(item) for item in gateways]
    found = peering.decide(registry, listed, by_namespace)
    assert len({(one.namespace, one.name) for one in found}) == len(found)
    return {f"{one.namespace}/{one.name}": dict(one.annotations) for one in found}


def peers(*entries: tuple[str, str]) -> str:
    listed = [
        {"inner": inner, "mac": conf.mac_address(conf.IPv4(inner)), "outer": outer}
        for inner, outer in sorted(entries, key=lambda one: conf.IPv4(one[0]))
    ]
    return json.dumps(listed, separators=(",", ":"))


def listed(result: dict[str, Any], name: str = "vpn/vpnarr-0") -> dict[str, str]:
    """Outer address by inner one, as the gateway itself reads the list."""
    text = result[name]["bulkhead.mesh/peers"]
    return {str(one.inner): str(one.outer) for one in conf.parse_peers(text, REGISTRY["vpnarr"].network)}


def test_first_contact_tells_both_ends() -> None:
    assert decide([gateway()], client()) == {
        "downloads/qbit-0": {"bulkhead.mesh/gateway-address": "10.244.0.2"},
        "vpn/vpnarr-0": {
            "bulkhead.mesh/peers": '[{"inner":"10.222.1.10","mac":"02:42:0a:de:01:0a","outer":"10.244.0.7"}]'
        },
    }


def test_everything_is_said_twice_and_no_more() -> None:
    """A kubelet may overlook one change of an annotation for more than a minute, so there is a second one."""
    once = {"bulkhead.mesh/peers": peers(("10.222.1.10", "10.244.0.7"))}
    told = {"bulkhead.mesh/gateway-address": "10.244.0.2", "other": "x"}
    again = decide([gateway(annotations=once)], client(annotations=told))
    assert again == {
        "downloads/qbit-0": {"bulkhead.mesh/gateway-address": "10.244.0.2\n"},
        "vpn/vpnarr-0": {"bulkhead.mesh/peers": once["bulkhead.mesh/peers"] + "\n"},
    }
    assert listed(again) == {"10.222.1.10": "10.244.0.7"}
    assert conf.parse_gateway_address("10.244.0.2\n") == conf.IPv4("10.244.0.2")
    known, heard = gateway(annotations=again["vpn/vpnarr-0"]), client(annotations={**told, **again["downloads/qbit-0"]})
    assert decide([known], heard) == {}


def test_what_was_said_twice_is_replaced_as_well() -> None:
    known = gateway(annotations={"bulkhead.mesh/peers": peers(("10.222.1.10", "10.244.0.7")) + "\n"})
    moved = client(ip="10.244.0.8", annotations={"bulkhead.mesh/gateway-address": "10.244.0.9\n"})
    result = decide([known], moved)
    assert result["downloads/qbit-0"] == {"bulkhead.mesh/gateway-address": "10.244.0.2"}
    assert result["vpn/vpnarr-0"] == {"bulkhead.mesh/peers": peers(("10.222.1.10", "10.244.0.8"))}


def test_sealing_is_said_twice_as_well() -> None:
    for held, wanted in (("10.244.0.2\n", ""), ("", "\n")):
        result = decide([], client(annotations={"bulkhead.mesh/gateway-address": held}))
        assert result == {"downloads/qbit-0": {"bulkhead.mesh/gateway-address": wanted}}
    assert decide([], client(annotations={"bulkhead.mesh/gateway-address": "\n"})) == {}
    assert conf.parse_gateway_address("\n") is None


TOLD = '[{"address":"10.96.3.4","port":7878,"protocol":"tcp"}]'
ADDRESSED = {"bulkhead.mesh/gateway-address": "10.244.0.2\n"}


def with_direct(direct: Any) -> Any:
    """The registry with a list of direct destinations for the first client."""
    data = copy.deepcopy(DATA)
    data["gateways"]["vpnarr"]["clients"]["downloads.qbit"]["direct"] = direct
    return peering.parse_registry(json.dumps(data))


def direct_of(*clients: Any, direct: Any = None, **more: Any) -> dict[str, str]:
    """What is written about direct destinations, by pod; the list is ``TOLD`` unless another is given."""
    registry = with_direct(json.loads(TOLD) if direct is None else direct)
    result = decide([gateway()], *clients, registry=registry, **more)
    return {name: one["bulkhead.mesh/direct"] for name, one in result.items() if "bulkhead.mesh/direct" in one}


def test_direct_destinations_come_with_the_address_in_one_patch() -> None:
    result = decide([gateway()], client(), registry=with_direct(json.loads(TOLD)))
    assert result["downloads/qbit-0"] == {
        "bulkhead.mesh/gateway-address": "10.244.0.2",
        "bulkhead.mesh/direct": TOLD,
    }
    assert conf.parse_direct(TOLD) == (conf.Direct("tcp", conf.Network4("10.96.3.4/32"), 7878),)


def test_no_destination_is_said_too_as_the_pod_waits_for_it() -> None:
    assert direct_of(client(), direct=[]) == {"downloads/qbit-0": "[]"}


def test_another_list_is_said_twice() -> None:
    for held, wanted in (("[]", TOLD), ("[]\n", TOLD), (TOLD, TOLD + "\n")):
        assert direct_of(client(annotations={**ADDRESSED, "bulkhead.mesh/direct": held})) == {
            "downloads/qbit-0": wanted
        }
    assert direct_of(client(annotations={**ADDRESSED, "bulkhead.mesh/direct": TOLD + "\n"})) == {}


def test_a_client_of_an_older_registry_is_told_nothing() -> None:
    """Its pods have their destinations in their own configuration, or keep those they were told last."""
    for held in ({}, {"bulkhead.mesh/direct": TOLD + "\n"}):
        assert decide([], client(annotations=held)) == {}


@pytest.mark.parametrize(
    "stranger",
    [client("downloads/qbit-2"), client(client="downloads.other"), client("media/qbit-0"), client(gateway="other")],
    ids=["ordinal", "client", "namespace", "gateway"],
)
def test_unregistered_pods_reach_nothing_directly(stranger: Any) -> None:
    name = f"{stranger['metadata']['namespace']}/{stranger['metadata']['name']}"
    assert direct_of(stranger) == {}
    stranger["metadata"]["annotations"] = {"bulkhead.mesh/direct": TOLD + "\n"}
    assert direct_of(stranger) == {name: "[]"}


def test_failed_read_of_a_client_namespace_leaves_what_its_pods_were_told() -> None:
    assert direct_of(blind=("downloads",)) == {}


@pytest.mark.parametrize("direct", [None, {}, "tcp", [None], [{"protocol": "tcp", "address": "x", "port": 1}]])
def test_a_list_that_pods_would_not_take_leaves_the_last_good_registry(direct: Any) -> None:
    with pytest.raises(conf.ConfigError):
        with_direct(direct)


def test_peers_are_sorted_as_numbers_and_by_ordinal() -> None:
    result = decide(
        [gateway()],
        client("downloads/qbit-1", "10.244.0.8"),
        client(),
        client("media/sab-abcde", "10.244.0.9", client="media.sab"),
    )
    wanted = peers(("10.222.1.10", "10.244.0.7"), ("10.222.1.11", "10.244.0.8"), ("10.222.1.20", "10.244.0.9"))
    assert result["vpn/vpnarr-0"] == {"bulkhead.mesh/peers": wanted}


@pytest.mark.parametrize(
    "gateways",
    [
        [],
        [gateway(deleted=True)],
        [gateway(ip=None, phase="Pending")],
        [gateway(phase="Failed")],
        [gateway(phase="Succeeded")],
        [gateway(), gateway("vpn/vpnarr-1", "10.244.0.3")],
        [gateway(ip="fd00::2")],
    ],
    ids=["none", "terminating", "no address", "failed", "ended", "two", "only IPv6"],
)
def test_without_exactly_one_gateway_clients_are_sealed(gateways: Any) -> None:
    told = client(annotations={"bulkhead.mesh/gateway-address": "10.244.0.2"})
    assert decide(gateways, told)["downloads/qbit-0"] == {"bulkhead.mesh/gateway-address": ""}
    assert "downloads/qbit-0" not in decide(gateways, client())  # absent and empty are the same


def test_old_gateway_going_and_new_one_there() -> None:
    gone = gateway(ip="10.244.0.2", deleted=True, uid="old")
    result = decide([gone, gateway("vpn/vpnarr-0", "10.244.0.5", phase="Pending", uid="new")], client())
    assert result["downloads/qbit-0"] == {"bulkhead.mesh/gateway-address": "10.244.0.5"}


def test_gateway_of_another_name_does_not_count() -> None:
    other = gateway("vpn/other-0", "10.244.0.3")
    other["metadata"]["labels"]["bulkhead.mesh/vpn-gateway"] = "other"
    result = decide([gateway(), other], client())
    assert result["downloads/qbit-0"] == {"bulkhead.mesh/gateway-address": "10.244.0.2"}
    assert "vpn/other-0" not in result


@pytest.mark.parametrize(
    "stranger",
    [
        client(ip=None, phase="Pending"),
        client(deleted=True),
        client(phase="Succeeded"),
        client(phase="Failed"),
        client(ip="fd00::7"),
        client("downloads/qbit-2"),
        client(client="downloads.other"),
        client("media/qbit-0"),
        client(gateway="other"),
    ],
    ids=["no address", "terminating", "ended", "failed", "only IPv6", "ordinal", "client", "namespace", "gateway"],
)
def test_who_is_no_peer(stranger: Any) -> None:
    result = decide([gateway()], client("downloads/qbit-1", "10.244.0.8"), stranger)
    assert listed(result) == {"10.222.1.11": "10.244.0.8"}


@pytest.mark.parametrize(
    "stranger",
    [client("downloads/qbit-2"), client(client="downloads.other"), client("media/qbit-0"), client(gateway="other")],
    ids=["ordinal", "client", "namespace", "gateway"],
)
def test_unregistered_pods_are_told_no_gateway(stranger: Any) -> None:
    name = f"{stranger['metadata']['namespace']}/{stranger['metadata']['name']}"
    assert name not in decide([gateway()], stranger)
    stranger["metadata"]["annotations"] = {"bulkhead.mesh/gateway-address": "10.244.0.2"}
    assert decide([gateway()], stranger)[name] == {"bulkhead.mesh/gateway-address": ""}


def test_the_address_is_written_before_the_client_has_its_own() -> None:
    result = decide([gateway()], client(ip=None, phase="Pending"))
    assert result == {"downloads/qbit-0": {"bulkhead.mesh/gateway-address": "10.244.0.2"}}


def test_ipv4_is_picked_from_a_dual_stack_pod() -> None:
    assert listed(decide([gateway()], client(ip="fd00::7", ips=["fd00::7", "10.244.0.7"]))) == {
        "10.222.1.10": "10.244.0.7"
    }


@pytest.mark.parametrize("order", [1, -1])
def test_newest_of_two_pods_of_one_ordinal_wins(order: int) -> None:
    pods = [
        client("media/sab-aaaaa", "10.244.0.9", client="media.sab", created="2026-01-01T00:00:00Z"),
        client("media/sab-bbbbb", "10.244.0.10", client="media.sab", created="2026-01-01T00:00:05Z"),
    ][::order]
    assert listed(decide([gateway()], *pods)) == {"10.222.1.20": "10.244.0.10"}
    pods[1 if order > 0 else 0]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:06Z"
    assert listed(decide([gateway()], *pods)) == {"10.222.1.20": "10.244.0.9"}


@pytest.mark.parametrize("order", [1, -1])
def test_an_outer_address_is_listed_once(order: int) -> None:
    pods = [client(created="2026-01-01T00:00:00Z"), client("downloads/qbit-1", created="2026-01-01T00:00:05Z")][::order]
    assert listed(decide([gateway()], *pods)) == {"10.222.1.11": "10.244.0.7"}


def test_when_the_last_client_goes_the_list_is_emptied() -> None:
    known = gateway(annotations={"bulkhead.mesh/peers": peers(("10.222.1.10", "10.244.0.7"))})
    assert decide([known]) == {"vpn/vpnarr-0": {"bulkhead.mesh/peers": "[]"}}
    assert decide([gateway()]) == {}


def test_failed_read_of_gateways_changes_nothing() -> None:
    told = client(annotations={"bulkhead.mesh/gateway-address": "10.244.0.2"})
    assert decide(None, told) == {}


def test_failed_read_of_a_client_namespace_keeps_its_peers() -> None:
    held = peers(("10.222.1.10", "10.244.0.7"), ("10.222.1.20", "10.244.0.9")) + "\n"
    known = gateway(annotations={"bulkhead.mesh/peers": held})
    moved = client("media/sab-abcde", "10.244.0.99", client="media.sab")
    result = decide([known], moved, blind=("downloads",))
    assert listed(result) == {"10.222.1.10": "10.244.0.7", "10.222.1.20": "10.244.0.99"}
    assert decide([known], blind=("downloads", "media")) == {}


def test_kept_peer_never_makes_the_list_unusable() -> None:
    known = gateway(annotations={"bulkhead.mesh/peers": peers(("10.222.1.10", "10.244.0.7"))})
    same_address = client("media/sab-abcde", "10.244.0.7", client="media.sab")
    assert listed(decide([known], same_address, blind=("downloads",))) == {"10.222.1.20": "10.244.0.7"}


def test_dead_pods_are_not_written_to() -> None:
    assert decide([gateway(deleted=True)], client(deleted=True)) == {}


def container(reason: str | None, code: int | None) -> dict[str, Any]:
    """Status of a container that waits for ``reason`` (None: it runs) and ended with ``code`` before."""
    state = {"waiting": {"reason": reason}} if reason else {"running": {}}
    return {"state": state, "lastState": {} if code is None else {"terminated": {"exitCode": code}}}


def ended(restarts: int, code: int) -> dict[str, Any]:
    """Status of a container that has just ended."""
    return {"state": {"terminated": {"exitCode": code}}, "restartCount": restarts}


def replaced(*gateways: Any, registry: Any = REGISTRY) -> list[str]:
    return [one.uid for one in peering.to_replace(registry, [peering.parse_pod(item) for item in gateways])]


@pytest.mark.parametrize("code", [0, 129, 137, 143])
def test_a_gateway_whose_container_was_ended_and_is_held_back_is_replaced(code: int) -> None:
    fine = container(None, None)
    for waits in (container("CrashLoopBackOff", code), ended(1, code)):
        assert replaced(gateway(containers=[fine, waits]), gateway("vpn/b-0", containers=[fine])) == ["uid-vpnarr-0"]


@pytest.mark.parametrize(
    "kept",
    [
        gateway(),
        gateway(containers=[container(None, 137)]),
        gateway(containers=[container("ContainerCreating", 137)]),
        gateway(containers=[container("ImagePullBackOff", 137)]),
        gateway(containers=[container("CrashLoopBackOff", None)]),
        gateway(containers=[container("CrashLoopBackOff", 1)]),
        gateway(containers=[container("CrashLoopBackOff", 128)]),
        gateway(containers=[ended(0, 137)]),
        gateway(containers=[ended(1, 1)]),
        gateway(containers=[container("CrashLoopBackOff", 137)], deleted=True),
        client(containers=[container("CrashLoopBackOff", 137)], gateway="other"),
    ],
    ids=[
        "fine",
        "runs again",
        "starts",
        "no image",
        "never ran",
        "failed",
        "not started",
        "first",
        "again",
        "goes",
        "unknown",
    ],
)
def test_other_gateways_are_not_replaced(kept: Any) -> None:
    assert replaced(kept) == []


def test_no_gateway_is_replaced_when_they_could_not_be_read() -> None:
    assert peering.to_replace(REGISTRY, None) == []


def test_two_gateways_do_not_mix() -> None:
    data = json.loads(json.dumps(DATA))
    data["gateways"]["second"] = {"network": "10.222.2.0/24", "clients": {"media.sab": {**SAB, "first_index": 2}}}
    other = gateway("vpn/second-0", "10.244.0.3")
    other["metadata"]["labels"]["bulkhead.mesh/vpn-gateway"] = "second"
    sab = client("media/sab-abcde", "10.244.0.9", client="media.sab", gateway="second")
    result = decide([gateway(), other], client(), sab, registry=peering.parse_registry(json.dumps(data)))
    assert listed(result) == {"10.222.1.10": "10.244.0.7"}
    assert json.loads(result["vpn/second-0"]["bulkhead.mesh/peers"])[0]["inner"] == "10.222.2.2"
    assert result["media/sab-abcde"] == {"bulkhead.mesh/gateway-address": "10.244.0.3"}


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{",
        "[]",
        "{}",
        '{"gateways": {"a": {"network": "10.222.1.0/33", "clients": {}}}}',
        '{"gateways": {"a": {"network": "10.222.1.0/24", "clients": []}}}',
        '{"gateways": {"a": {"network": "10.222.1.0/24", "clients": {"x": {"namespace": "n", "first_index": 2}}}}}',
        '{"gateways": {"a": {"network": "10.222.1.0/24", "clients":'
        ' {"x": {"namespace": "n", "first_index": 1, "size": 1}}}}}',
        '{"gateways": {"a": {"network": "10.222.1.0/24", "clients":'
        ' {"x": {"namespace": "n", "first_index": "2", "size": 1}}}}}',
    ],
)
def test_bad_registry(text: Any) -> None:
    with pytest.raises(conf.ConfigError):
        peering.parse_registry(text)


def test_labels_are_those_of_the_rest_of_the_collection() -> None:
    from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _names

    assert (peering.CLIENT_LABEL, peering.GATEWAY_LABEL) == (_names.CLIENT_LABEL, _names.GATEWAY_LABEL)
    assert (peering.ROLE_LABEL, peering.GATEWAY_ROLE) == (_names.ROLE_LABEL, _names.GATEWAY_ROLE)
    assert (peering.ADDRESS, peering.PEERS) == (_names.ADDRESS_ANNOTATION, _names.PEERS_ANNOTATION)


# --- the loop against a server on loopback ------------------------------------------------------------


class FakeServer(http.server.ThreadingHTTPServer):
    """Answers from ``answers`` (method and path -> status and body) and remembers what was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {}
        self.asked: list[tuple[str, Any, str]] = []
        self.connections = 0
        self.hang_up = False
        super().__init__(("127.0.0.1", 0), Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections += 1
        super().process_request(request, client_address)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeServer

    def _serve(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        key = f"{self.command} {self.path}"
        self.server.asked.append((key, json.loads(raw) if raw else None, self.headers["Authorization"]))
        status, body = self.server.answers.get(key, (404, {"message": "not found"}))
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        # Without "Connection: close": the client finds out when it uses the connection again.
        self.close_connection = self.server.hang_up

    do_GET = do_PATCH = do_DELETE = _serve

    def log_message(self, format: str, *args: Any) -> None:
        pass


CONFIG_MAP = "GET /api/v1/namespaces/vpn/configmaps/bulkhead-vpn-registry"
GATEWAYS = "GET /api/v1/namespaces/vpn/pods?labelSelector=bulkhead.mesh%2Frole%3Dgateway"
CLIENTS = (
    "GET /api/v1/namespaces/{}/pods?labelSelector="
    "bulkhead.mesh%2Fvpn-client%2Cbulkhead.mesh%2Fvpn-gateway+in+%28vpnarr%29"
)
PATCH_CLIENT = "PATCH /api/v1/namespaces/downloads/pods/qbit-0?fieldManager=bulkhead-endpoints"
PATCH_GATEWAY = "PATCH /api/v1/namespaces/vpn/pods/vpnarr-0?fieldManager=bulkhead-endpoints"


@pytest.fixture
def server() -> Iterator[FakeServer]:
    made = FakeServer()
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture
def controller(server: FakeServer, tmp_path: Path) -> endpoints.Controller:
    (tmp_path / "token").write_text("first\n")
    server.answers = {
        CONFIG_MAP: (200, {"data": {"registry.json": json.dumps(DATA)}}),
        GATEWAYS: (200, {"items": [gateway()]}),
        CLIENTS.format("downloads"): (200, {"items": [client()]}),
        CLIENTS.format("media"): (200, {"items": None}),
        PATCH_CLIENT: (200, {}),
        PATCH_GATEWAY: (200, {}),
    }

    def connect() -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=5)

    return endpoints.Controller(endpoints.Api("127.0.0.1", 1, str(tmp_path), connect), "vpn")


def patched(server: FakeServer) -> list[tuple[str, Any]]:
    return [(key, body) for key, body, dummy in server.asked if key.startswith("PATCH")]


def events(capsys: Any) -> list[tuple[str, str]]:
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    return [(line["event"], line.get("about", line.get("pod", ""))) for line in lines]


def test_one_tick(controller: endpoints.Controller, server: FakeServer, capsys: Any) -> None:
    controller.tick()
    annotations = {"bulkhead.mesh/gateway-address": "10.244.0.2"}
    assert patched(server) == [
        (PATCH_CLIENT, {"metadata": {"uid": "uid-qbit-0", "annotations": annotations}}),
        (
            PATCH_GATEWAY,
            {
                "metadata": {
                    "uid": "uid-vpnarr-0",
                    "annotations": {"bulkhead.mesh/peers": peers(("10.222.1.10", "10.244.0.7"))},
                }
            },
        ),
    ]
    assert {token for dummy, dummy, token in server.asked} == {"Bearer first"}
    assert len(server.asked) == 6
    assert events(capsys) == [("registry", ""), ("written", "downloads/qbit-0"), ("written", "vpn/vpnarr-0")]


def test_the_log_tells_a_repetition_from_news(
    controller: endpoints.Controller, server: FakeServer, capsys: Any
) -> None:
    told = client(annotations={"bulkhead.mesh/gateway-address": "10.244.0.2"})
    server.answers[CLIENTS.format("downloads")] = (200, {"items": [told]})
    controller.tick()
    assert [one for one in events(capsys) if one[1] == "downloads/qbit-0"] == [("repeated", "downloads/qbit-0")]


def test_the_connection_is_kept_and_the_token_read_again(
    controller: endpoints.Controller, server: FakeServer, tmp_path: Path
) -> None:
    controller.tick()
    (tmp_path / "token").write_text("second")
    server.asked.clear()
    controller.tick()
    assert {token for dummy, dummy, token in server.asked} == {"Bearer second"}
    assert server.connections == 1


def test_a_connection_closed_while_idle_is_no_failure(
    controller: endpoints.Controller, server: FakeServer, capsys: Any
) -> None:
    server.hang_up = True
    controller.tick()
    controller.tick()
    assert "failing" not in [event for event, dummy in events(capsys)]
    assert len(patched(server)) == 4


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (200, [("replaced", "vpn/vpnarr-0")]),
        (404, []),
        (409, []),
        (403, [("failing", "replacing vpn/vpnarr-0")]),
    ],
)
def test_replacing_a_gateway(
    controller: endpoints.Controller, server: FakeServer, capsys: Any, status: int, said: Any
) -> None:
    delete = "DELETE /api/v1/namespaces/vpn/pods/vpnarr-0"
    waits = gateway(containers=[container("CrashLoopBackOff", 137)])
    server.answers.update({GATEWAYS: (200, {"items": [waits]}), delete: (status, {"message": "no"})})
    controller.tick()
    assert [(key, body["preconditions"]) for key, body, dummy in server.asked if key.startswith("DELETE")] == [
        (delete, {"uid": "uid-vpnarr-0"})
    ]
    assert [one for one in events(capsys) if "repl" in "".join(one)] == said


@pytest.mark.parametrize("answer", [(403, {"message": "no"}), (200, b"<html>"), (500, b""), (200, {"kind": "x"})])
@pytest.mark.parametrize("broken", [CONFIG_MAP, GATEWAYS])
def test_failed_read_writes_nothing(
    controller: endpoints.Controller, server: FakeServer, capsys: Any, broken: str, answer: Any
) -> None:
    server.answers[broken] = answer
    controller.tick()
    controller.tick()
    assert patched(server) == []
    assert [event for event, dummy in events(capsys)].count("failing") == 1  # said once, not once a tick


def test_registry_gone_later_keeps_the_last_good_one(
    controller: endpoints.Controller, server: FakeServer, capsys: Any
) -> None:
    controller.tick()
    server.answers[CONFIG_MAP] = (404, {"message": "not found"})
    server.answers[CLIENTS.format("downloads")] = (200, {"items": [client(ip="10.244.0.70")]})
    server.asked.clear()
    controller.tick()
    assert "10.244.0.70" in json.dumps(patched(server))
    assert ("failing", "registry") in events(capsys)


def test_failed_client_namespace_leaves_the_other_working(
    controller: endpoints.Controller, server: FakeServer, capsys: Any
) -> None:
    server.answers[CLIENTS.format("media")] = (403, {"message": "no"})
    controller.tick()
    assert [key for key, dummy in patched(server)] == [PATCH_CLIENT, PATCH_GATEWAY]
    assert ("failing", "pods media") in events(capsys)
    server.answers[CLIENTS.format("media")] = (200, {"items": []})
    controller.tick()
    assert ("working", "pods media") in events(capsys)


@pytest.mark.parametrize(
    ("status", "message", "said"),
    [
        (404, "not found", False),
        (409, "conflict", False),
        (422, "metadata.uid: field is immutable", False),
        (422, "metadata.annotations: too long", True),
        (403, "no", True),
    ],
)
def test_failed_patch(
    controller: endpoints.Controller, server: FakeServer, capsys: Any, status: int, message: str, said: bool
) -> None:
    server.answers[PATCH_CLIENT] = (status, {"message": message})
    controller.tick()
    assert [key for key, dummy in patched(server)] == [PATCH_CLIENT, PATCH_GATEWAY]
    assert (("failing", "pod downloads/qbit-0") in events(capsys)) is said


def test_missing_token_is_a_failed_read(controller: endpoints.Controller, server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "token").unlink()
    controller.tick()
    assert server.asked == []


def test_a_loop_that_turns_is_alive_and_one_that_hangs_is_not() -> None:
    now = [100.0]
    heart = endpoints.Heart(lambda: now[0])
    assert heart.alive()  # before the first turn as well
    now[0] += endpoints.STALE_SECONDS
    assert heart.alive()
    now[0] += 1
    assert not heart.alive()
    heart.beat()
    assert heart.alive()


def test_every_tick_beats_even_when_nothing_can_be_read(controller: endpoints.Controller, server: FakeServer) -> None:
    beats: list[int] = []
    controller._beat = lambda: beats.append(1)
    server.answers = {}
    controller.tick()
    assert beats


def test_started_outside_a_pod() -> None:
    with pytest.raises(AgentError, match="KUBERNETES_SERVICE_HOST"):
        entry.dispatch(["endpoints"], {})


def test_a_pod_that_does_not_know_its_address() -> None:
    with pytest.raises(AgentError, match="POD_IP"):
        entry.dispatch(["endpoints"], {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"})
