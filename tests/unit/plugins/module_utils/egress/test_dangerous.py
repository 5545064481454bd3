# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one list of dangerous settings: attaching, admission and pod-caps say the same of each.

Whether the API server reads the expressions as they are meant is tried by the integration target ``vpn_admission``.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._checks import _judge_pod
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _admission, _dangerous, _refuse
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Client
from ansible_collections.bulkhead.mesh.tests.unit.plugins.module_utils.checks import evidence

Object = dict[str, Any]
SAFE = {"capabilities": {"drop": ["NET_RAW"]}}


def container(**more: Any) -> Object:
    return {"name": "app", "image": "example.org/app:1", "securityContext": copy.deepcopy(SAFE), **more}


def adding(capability: str) -> Object:
    return {"containers": [container(securityContext={"capabilities": {"add": [capability], "drop": ["NET_RAW"]}})]}


def mounting(path: str) -> Object:
    return {"volumes": [{"name": "node", "hostPath": {"path": path}}]}


BAD: dict[str, Object] = {
    "hostPID": {"hostPID": True},
    "shareProcessNamespace": {"shareProcessNamespace": True},
    "hostUsers": {"hostUsers": False},
    "privileged": {"containers": [container(securityContext={**SAFE, "privileged": True})]},
    "procMount": {"containers": [container(securityContext={**SAFE, "procMount": "Unmasked"})]},
    "device": {"containers": [container(resources={"limits": {"rdma/hca": "1"}})]},
    "init container": {"initContainers": [container(name="prepare", securityContext={**SAFE, "privileged": True})]},
    **{
        name: adding(name)
        for name in (
            "ALL",
            "BPF",
            "cap_bpf",
            "CAP_DAC_READ_SEARCH",
            "NET_ADMIN",
            "net_raw",
            "SYS_ADMIN",
            "CAP_SYS_MODULE",
            "SYS_PTRACE",
            "SYS_RAWIO",
        )
    },
    **{
        path: mounting(path)
        for path in (
            "/",
            "/run/",
            "/./run/./netns",
            "/var/run/docker.sock",
            "/run/systemd/private",
            "/proc/1",
            "/etc",
            "/var/lib/rancher",
            "/dev",
            "/dev/net/tun",
            "/dev/uio0",
            "/dev/vfio/12",
            "/dev/mem",
        )
    },
}
GOOD: dict[str, Object] = {
    "nothing": {},
    "the defaults": {"hostPID": False, "hostUsers": True, "shareProcessNamespace": False, "hostNetwork": False},
    "masked proc": {"containers": [container(securityContext={**SAFE, "procMount": "Default", "privileged": False})]},
    "CHOWN": adding("CHOWN"),
    "drops all": {"containers": [container(securityContext={"capabilities": {"drop": ["ALL"]}})]},
    "a graphics card": {"containers": [container(resources={"limits": {"gpu.intel.com/i915": "1", "cpu": "1"}})]},
    "a disk": {"containers": [container(volumeDevices=[{"name": "data", "devicePath": "/dev/data"}])]},
    **{path: mounting(path) for path in ("/srv/proc", "/etc/localtime", "/dev/dri", "/run/user/1", "/var/lib/media")},
}


def refused(workload: Callable[..., Any], spec: Object) -> list[str]:
    return [one.reason for one in _refuse.refusals(workload(pod=copy.deepcopy(spec)))]


def judged(spec: Object) -> Any:
    pod = copy.deepcopy(evidence.GOOD.pod)
    pod["spec"].update({key: value for key, value in copy.deepcopy(spec).items() if key != "initContainers"})
    pod["spec"]["initContainers"] += copy.deepcopy(spec.get("initContainers", []))
    return _judge_pod.caps(replace(evidence.GOOD, pod=pod, inside={}))


@pytest.mark.parametrize("spec", BAD.values(), ids=BAD)
def test_attaching_and_the_check_refuse_the_same_for_the_same_reason(workload: Any, spec: Object) -> None:
    (reason,) = refused(workload, spec)
    found = judged(spec)
    assert found.result == "fail" and found.reason == reason


@pytest.mark.parametrize("spec", GOOD.values(), ids=GOOD)
def test_what_is_harmless_is_taken_by_both(workload: Any, spec: Object) -> None:
    assert refused(workload, spec) == []
    assert judged(spec).result == "pass"


def test_admission_has_every_entry_of_the_list(workload: Any) -> None:
    client = Client("StatefulSet", "downloads", "qbittorrent", "vpnarr")
    mark = _admission.GuardMark("0123456789abcdef", "example.org/agent:1", "[]", "[]", "[]", "httpGet")
    rules = _admission.client_admission(client, {"matchLabels": {"app": "q"}}, [mark])[0]["spec"]["validations"]
    every = [*_dangerous.POD, *_dangerous.VOLUME, *_dangerous.CONTAINER, *_dangerous.EPHEMERAL]
    for setting in every:
        assert any(f"{setting.path}: {setting.reason}; {setting.remedy}." in one["message"] for one in rules), setting
        assert any(setting.test.cel("c") in one["expression"].replace("variables.pod.", "c.") for one in rules), setting
    assert len(rules) == 5 + len(every), "each entry is one rule, beside guard and labels"


@pytest.mark.parametrize("drop", [[], ["CHOWN"], ["CAP_NET_RAW"], None])
def test_raw_frames_have_to_be_given_up_by_name(workload: Any, drop: Any) -> None:
    """Attaching drops it itself; with the prefix runtimes do not know it, so it stays."""
    capabilities = {} if drop is None else {"capabilities": {"drop": drop}}
    spec = {"containers": [container(securityContext=capabilities)]}
    assert refused(workload, spec) == []
    assert judged(spec).result == "fail" and "NET_RAW" in judged(spec).reason


@pytest.mark.parametrize(("target", "result"), [("app", "pass"), (None, "pass"), ("bulkhead-overlay", "fail")])
def test_ephemeral_containers_keep_out_of_the_overlays_processes(target: Any, result: str) -> None:
    ephemeral = container(name="debugger", **({"targetContainerName": target} if target else {}))
    assert judged({"ephemeralContainers": [ephemeral]}).result == result


def test_one_path_is_told_once(workload: Any) -> None:
    assert len(refused(workload, mounting("/"))) == 1


def test_capabilities_are_known_by_their_bits() -> None:
    assert _dangerous.bits(1 << 12 | 1 << 13 | 1 << 0) == ["NET_ADMIN", "NET_RAW"]
    assert _dangerous.bits((1 << 41) - 1) == sorted(_dangerous.CAPABILITIES)


def test_expressions_hold_what_they_judge_and_cannot_be_broken_out_of() -> None:
    test = _dangerous.Matches("a.b", 'x"y')
    assert json.dumps('x"y') in test.cel("c")
