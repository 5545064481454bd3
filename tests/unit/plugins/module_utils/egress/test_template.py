# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What attaching does to a pod template, field by field, and what happens when somebody changed it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _agent_files, _names, _pieces, _template
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._patch import PatchError, apply_patch

Object = dict[str, Any]
Make = Callable[..., Any]
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"


@pytest.fixture
def attached(workload: Make, settings: Make) -> Make:
    """Make an attached workload."""

    def make(**changes: Any) -> Object:
        made = workload(**changes)
        return apply_patch(made, _template.attach(made, settings()))

    return make


def test_own_containers_come_first_and_the_users_keep_their_order(attached: Make) -> None:
    inits = [{"name": "wait", "image": "a"}, {"name": "log", "image": "b", "restartPolicy": "Always"}]
    pod = attached(pod={"initContainers": inits})["spec"]["template"]["spec"]
    assert [one["name"] for one in pod["initContainers"]] == ["bulkhead-guard", "bulkhead-overlay", "wait", "log"]
    guard, overlay = pod["initContainers"][:2]
    assert "restartPolicy" not in guard and "startupProbe" not in guard  # as a sidecar it would let others start
    assert overlay["restartPolicy"] == "Always"
    assert overlay["startupProbe"]["failureThreshold"] == 2**31 - 1


def test_own_containers_have_one_capability_and_no_token(attached: Make) -> None:
    pod = attached(pod={"securityContext": {"runAsNonRoot": True, "runAsUser": 1000}})["spec"]["template"]["spec"]
    for one in pod["initContainers"]:
        security = one["securityContext"]
        assert security["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN"]}
        assert (security["runAsUser"], security["runAsNonRoot"]) == (0, False)  # the pod's must not apply
        assert security["privileged"] is security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert TOKEN in [mount["mountPath"] for mount in one["volumeMounts"] if mount["readOnly"]]
        assert set(one["resources"]) == {"requests", "limits"}
    assert pod["securityContext"] == {"runAsNonRoot": True, "runAsUser": 1000}
    assert "automountServiceAccountToken" not in pod


def test_every_container_of_the_user_loses_net_raw(attached: Make) -> None:
    pod = {
        "initContainers": [{"name": "side", "image": "a", "restartPolicy": "Always"}],
        "containers": [
            {"name": "plain", "image": "b"},
            {"name": "some", "image": "c", "securityContext": {"capabilities": {"add": ["CHOWN"], "drop": ["KILL"]}}},
            {"name": "all", "image": "d", "securityContext": {"capabilities": {"drop": ["ALL"]}}},
        ],
    }
    spec = attached(pod=pod)["spec"]["template"]["spec"]
    drops = {one["name"]: one["securityContext"]["capabilities"]["drop"] for one in spec["initContainers"][2:]}
    drops.update({one["name"]: one["securityContext"]["capabilities"]["drop"] for one in spec["containers"]})
    assert drops == {"side": ["NET_RAW"], "plain": ["NET_RAW"], "some": ["KILL", "NET_RAW"], "all": ["ALL"]}
    assert spec["containers"][1]["securityContext"]["capabilities"]["add"] == ["CHOWN"]


def test_names_are_asked_at_the_gateway_only(attached: Make) -> None:
    live = attached(pod={"dnsConfig": {"nameservers": ["192.0.2.1"], "searches": ["lan"]}})
    pod = live["spec"]["template"]["spec"]
    assert pod["dnsPolicy"] == "None"
    assert pod["dnsConfig"] == {
        "nameservers": ["10.222.1.1"],
        "searches": ["downloads.svc.cluster.local", "svc.cluster.local", "cluster.local"],
        "options": [{"name": "ndots", "value": "2"}],
    }


def test_labels_and_annotations(attached: Make) -> None:
    metadata = attached()["spec"]["template"]["metadata"]
    assert metadata["labels"] == {
        "app": "qbittorrent",
        "bulkhead.mesh/vpn-client": "downloads.qbittorrent",
        "bulkhead.mesh/vpn-gateway": "vpnarr",
    }
    assert metadata["annotations"]["ambient.istio.io/dns-capture"] == "false"
    assert metadata["annotations"]["bulkhead.mesh/agent"] == "0123456789abcdef"
    assert set(metadata["annotations"]) == {
        "ambient.istio.io/dns-capture",
        "bulkhead.mesh/agent",
        "bulkhead.mesh/original",
    }


def test_nothing_else_changes(workload: Make, attached: Make) -> None:
    before, after = workload(), attached()
    template, edited = before["spec"].pop("template"), after["spec"].pop("template")
    assert before == after
    changed = {key for key in edited["spec"] if edited["spec"][key] != template["spec"].get(key)}
    assert changed == {"initContainers", "containers", "volumes", "dnsPolicy", "dnsConfig"}


def test_patch_starts_with_the_version_it_was_made_for(workload: Make, settings: Make) -> None:
    made = workload()
    operations = _template.attach(made, settings())
    assert operations[0] == {"op": "test", "path": "/metadata/resourceVersion", "value": "41"}
    made["metadata"]["resourceVersion"] = "42"
    with pytest.raises(PatchError, match="resourceVersion"):
        apply_patch(made, operations)


def test_defaults_of_a_later_api_server_and_the_place_of_volumes_are_no_difference(
    attached: Make, settings: Make
) -> None:
    live = attached()
    pod = live["spec"]["template"]["spec"]
    pod["initContainers"][1]["startupProbe"]["initialDelaySeconds"] = 0
    pod["volumes"][0]["configMap"]["optional"] = False
    pod["volumes"].append({"name": "later", "emptyDir": {}})
    assert _template.find_tampering(live) == []
    assert _template.attach(live, settings()) == []


def test_detaching_what_is_not_attached_is_nothing(workload: Make) -> None:
    assert _template.detach(workload()) == []
    assert not _template.is_attached(workload())
    assert _template.own_view(workload()) == workload()


def test_a_container_of_the_same_name_is_not_ours(workload: Make) -> None:
    made = workload(pod={"initContainers": [{"name": "bulkhead-guard", "image": "a"}]})
    assert not _template.is_attached(made)
    assert _template.find_tampering(made) == []


@pytest.mark.parametrize("place", ["moved", "edited", "removed", "volumes", "labels", "token"])
def test_attaching_again_repairs(place: str, attached: Make, workload: Make, settings: Make) -> None:
    live = attached()
    template = live["spec"]["template"]
    inits = template["spec"]["initContainers"]
    if place == "moved":
        inits.append(inits.pop(0))
    elif place == "edited":
        inits[0]["command"] = ["true"]
    elif place == "removed":
        del inits[0]
    elif place == "volumes":
        template["spec"]["volumes"].pop()
    elif place == "token":
        inits[1]["volumeMounts"].pop()
    else:
        del template["metadata"]["labels"][_names.CLIENT_LABEL]
    assert _template.find_tampering(live)
    with pytest.raises(_template.Tampered):
        _template.detach(live)
    repaired = apply_patch(live, _template.attach(live, settings()))
    assert repaired == attached()
    detached = apply_patch(repaired, _template.detach(repaired))
    assert detached == workload()


def test_a_lost_original_is_never_guessed(attached: Make, settings: Make) -> None:
    live = attached()
    annotations = live["spec"]["template"]["metadata"]["annotations"]
    original = json.loads(annotations[_names.ORIGINAL_ANNOTATION])
    original["dns"]["policy"] = "Default"  # no longer what the sum was made of
    annotations[_names.ORIGINAL_ANNOTATION] = json.dumps(original)
    for function in (lambda: _template.attach(live, settings()), lambda: _template.own_view(live)):
        with pytest.raises(_template.Tampered, match="bulkhead.mesh/original"):
            function()


def test_own_edits_of_a_user_are_no_tampering(attached: Make) -> None:
    live = attached()
    pod = live["spec"]["template"]["spec"]
    pod["initContainers"].append({"name": "later", "image": "a"})
    pod["containers"][0]["image"] = "example.org/app:6"
    del pod["containers"][0]["securityContext"]
    pod["dnsConfig"] = {"nameservers": ["192.0.2.1"]}
    assert _template.find_tampering(live) == []


def test_a_container_added_later_is_covered_by_the_next_run(attached: Make, settings: Make) -> None:
    live = attached()
    live["spec"]["template"]["spec"]["containers"].append({"name": "new", "image": "a"})
    operations = _template.attach(live, settings())
    assert [one["path"] for one in operations if "containers/1" in one["path"]] == [
        "/spec/template/spec/containers/1/securityContext"
    ]


def test_quality_of_service_stays_guaranteed(attached: Make) -> None:
    amounts = {"cpu": "1", "memory": "1Gi"}
    app = {"name": "app", "image": "a", "resources": {"limits": amounts}}
    pod = attached(pod={"containers": [app]})["spec"]["template"]["spec"]
    assert all(one["resources"]["requests"] == one["resources"]["limits"] for one in pod["initContainers"])
    pod = attached()["spec"]["template"]["spec"]
    assert all(one["resources"]["requests"] != one["resources"]["limits"] for one in pod["initContainers"])


def test_original_is_small(attached: Make) -> None:
    text = attached()["spec"]["template"]["metadata"]["annotations"][_names.ORIGINAL_ANNOTATION]
    assert len(text) < 700 and " " not in text


def test_fingerprint_sees_a_change_of_any_value(settings: Make) -> None:
    """Each leaf of our items is changed in turn."""
    for item in [*_pieces.init_containers(settings()), *_pieces.volumes(settings())]:
        before = _pieces.fingerprint(item)
        for change in leaves(item):
            change("changed")
            assert _pieces.fingerprint(item) != before
            change(None)
        assert _pieces.fingerprint(item) == before


def leaves(value: Any) -> list[Callable[[Any], None]]:
    """A function for each leaf that sets it, or with None puts the old value back."""
    found = []
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(pairs):
        if isinstance(inner, (dict, list)) and inner:
            found += leaves(inner)
        else:

            def put(new: Any, key: Any = key, old: Any = inner) -> None:
                value[key] = old if new is None else new

            found.append(put)
    return found


# --- the agent's files ---


def test_entry_line_runs_the_agent_only_with_the_hash_named(tmp_path: Path) -> None:
    files = {"__init__.py": "", "__main__.py": "import sys\nprint('ran', sys.argv[1:])\n"}
    folder = tmp_path / _agent_files.PACKAGE
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    agent = _agent_files.agent_hash(files)

    def run(hash_: str) -> subprocess.CompletedProcess[str]:
        _python, *arguments = [
            part.replace(_agent_files.MOUNT, str(tmp_path)) for part in _agent_files.command(hash_, "guard", "-x")
        ]
        return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)

    assert run(agent).stdout == "ran ['guard', '-x']\n"
    (folder / "__main__.py").write_text(files["__main__.py"] + "#")
    refused = run(agent)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert agent in refused.stderr and refused.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("annotations", "told"),
    [
        (None, None),
        ({"other": "x"}, None),
        ({_names.ADDRESS_ANNOTATION: ""}, ""),
        ({_names.ADDRESS_ANNOTATION: "\n"}, ""),
        ({_names.ADDRESS_ANNOTATION: "10.244.0.2\n"}, "10.244.0.2"),
    ],
)
def test_what_a_live_pod_was_told(annotations: dict[str, str] | None, told: str | None) -> None:
    assert _pieces.gateway_address({"metadata": {"annotations": annotations}}) == told


def test_config_map_is_immutable_and_named_by_its_content() -> None:
    one = _agent_files.config_map("downloads", {"guard.py": "a"})
    other = _agent_files.config_map("downloads", {"guard.py": "b"})
    assert one["immutable"] is True
    assert one["metadata"]["name"] == f"bulkhead-agent-{_agent_files.agent_hash({'guard.py': 'a'})}"
    assert one["metadata"]["name"] != other["metadata"]["name"]
    assert _agent_files.volume("f" * 16, ["b.py", "a.py"])["configMap"]["items"] == [
        {"key": "a.py", "path": "bulkhead_agent/a.py"},
        {"key": "b.py", "path": "bulkhead_agent/b.py"},
    ]


@pytest.mark.parametrize(("namespace", "name"), [("n" * 40, "a" * 40), ("n", "a.b" * 30)])
def test_client_id_is_a_label_value(namespace: str, name: str) -> None:
    value = _names.client_id(namespace, name)
    assert len(value) <= 63 and value[-1].isalnum()
    assert value != _names.client_id(namespace, name + "x")
    assert value.endswith(hashlib.sha256(f"{namespace}.{name}".encode()).hexdigest()[:8])
