# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Let a real API server judge what the admission policies of VPN egress are for: each case of a file, as a dry run.

The file is described at its top. Policies and bindings are what the collection renders; only those for all namespaces
(endpoints, labels) get another name, and a binding that keeps to the namespaces of this test.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import (
    _admission,
    _agent_files,
    _names,
    _pieces,
    _template,
    _workload_admission,
)
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Client as Workload
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Gateway
from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._patch import apply_patch
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._client import Client, demand
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Answer, Request
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._wait import wait_until

Object = dict[str, Any]
OPTIONS = ("context", "host", "api_key", "ca_cert", "client_cert", "client_key", "validate_certs")
PREFIX = "vpn-admission-"
APPS = ("StatefulSet", "Deployment")
NAMESPACES = ("downloads", "vpn", "tv", "nobody")
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
KINDS = ("validatingadmissionpolicies", "validatingadmissionpolicybindings")
NAMESPACE_PATH = "/api/v1/namespaces/"
EFFECTIVE = 30.0  # seconds in which the API server has to follow a new policy; it looks about once a second
GONE = 60.0

CLIENT = Workload("StatefulSet", PREFIX + "downloads", "qbittorrent", "vpnarr")
MADE, DEPLOYED = (Workload(kind, PREFIX + "downloads", "made", "vpnarr") for kind in ("StatefulSet", "Deployment"))
GATEWAYS = [Gateway(name, PREFIX + where, "wg") for name, where in (("vpnarr", "vpn"), ("spare", "vpn"), ("tv", "tv"))]
NOW, BEFORE = ("0123456789abcdef", "example.org/agent:1"), ("fedcba9876543210", "example.org/agent:0")
CONFIG = {"role": "client", "cluster_networks": ["10.96.0.0/16"]}
USERS = {
    "alice": "alice",
    "controller": _admission.endpoints_user(PREFIX + "vpn"),
    "stranger": _admission.endpoints_user(PREFIX + "tv"),
    "kubelet": "system:node:" + PREFIX + "node",
}


class User(Client):
    """The administrator under another name: what RBAC allows is not the question here."""

    def __init__(self, params: dict[str, Any], name: str) -> None:
        super().__init__(params)
        self.name = name

    def _authorization(self) -> dict[str, str]:
        impersonation = {"Impersonate-User": self.name, "Impersonate-Group": "system:masters"}
        return {**super()._authorization(), **impersonation}


# --- objects ------------------------------------------------------------------------------------------------------------


def workload(client: Workload = CLIENT) -> Object:
    """The user's workload, as it is written; no scheduler ever places its pods."""
    labels = {"app": client.name}
    pod = {
        "containers": [{"name": "app", "image": "example.org/qbittorrent:5"}],
        "dnsPolicy": "ClusterFirst",
        "schedulerName": PREFIX + "nowhere",
    }
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": dict(labels)}, "spec": pod},
    }
    metadata = {"name": client.name, "namespace": client.namespace}
    more = {"serviceName": "q"} if client.kind == "StatefulSet" else {}
    return {"apiVersion": "apps/v1", "kind": client.kind, "metadata": metadata, "spec": {**spec, **more}}


def attached_workload(agent: str, image: str, client: Workload = CLIENT) -> Object:
    """The workload attached with this agent."""
    settings = _pieces.Settings(
        client=client.id,
        gateway=client.gateway,
        agent=agent,
        agent_files=("__init__.py",),
        image=image,
        resolver="10.222.1.1",
        config=CONFIG,
    )
    made = workload(client)
    made = apply_patch(made, _template.attach(made, settings)[1:])
    if (agent, image) == BEFORE:  # agents once had the kubelet start a command
        probe = made["spec"]["template"]["spec"]["initContainers"][1]["startupProbe"]
        del probe["httpGet"]
        probe["exec"] = {"command": _agent_files.command(agent, "probe", "overlay")}
    return made


def attached_pod(agent: str, image: str) -> Object:
    """A pod of the workload, attached with this agent."""
    return pod_of(attached_workload(agent, image)["spec"]["template"])


def pod_of(template: Object) -> Object:
    """Pod number 0 of a template; no scheduler ever places it."""
    pod = {"apiVersion": "v1", "kind": "Pod", **copy.deepcopy(template)}
    pod["metadata"]["labels"][_admission.POD_INDEX] = "0"
    pod["spec"]["schedulerName"] = PREFIX + "nowhere"
    return pod


def gateway_set(name: str) -> Object:
    """The StatefulSet of a gateway with one replica."""
    labels = _names.gateway_pod_labels(name)
    pod = {"containers": [{"name": "engine", "image": "example.org/engine:1"}], "schedulerName": PREFIX + "nowhere"}
    spec = {
        "replicas": 1,
        "serviceName": name,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name}, "spec": spec}


def bases() -> dict[str, Object]:
    """What cases start from."""
    attached = attached_pod(*NOW)
    swapped = copy.deepcopy(attached)
    swapped["spec"]["initContainers"].reverse()
    gateway_pod = pod_of(gateway_set("vpnarr")["spec"]["template"])
    # The annotations of a gateway's pod exist before the first peers do.
    gateway_pod["metadata"]["annotations"] = {"a": "b"}
    return {
        "attached": attached,
        "swapped": swapped,
        "previous": attached_pod(*BEFORE),
        "plain": pod_of(workload()["spec"]["template"]),
        "binding": {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": "attached"},
            "target": {"kind": "Node", "name": PREFIX + "nowhere"},
        },
        "gateway": gateway_set("vpnarr"),
        "gateway-pod": gateway_pod,
        "spare": gateway_set("spare"),
        "workload": attached_workload(*NOW),
        "made": attached_workload(*NOW, MADE),
        "deployment": attached_workload(*NOW, DEPLOYED),
    }


def policies(names: dict[str, str]) -> list[Object]:
    """Policies and bindings; ``names`` are those of the case file."""
    selector = {"matchLabels": {"app": "qbittorrent"}}
    marks = [_admission.mark_of(attached_pod(*one)) for one in (BEFORE, NOW)]
    accepted = [one for one in marks if one is not None]
    made = _admission.client_admission(CLIENT, selector, accepted, 2)
    made += _workload_admission.workload_admission(CLIENT, selector, accepted)
    made += _workload_admission.workload_admission(MADE, {"matchLabels": {"app": MADE.name}}, accepted)
    for gateway in GATEWAYS:
        made += _admission.gateway_admission(gateway)
    nobody = {PREFIX + "nobody"}
    ours = {PREFIX + name for name in NAMESPACES} - nobody
    made += confined(_admission.endpoints_admission(GATEWAYS), names["endpoints"], ours)
    made += confined(_workload_admission.labels_admission(), names["labels"], ours)
    return made + confined(_admission.endpoints_admission([]), names["nobody"], nobody)


def confined(objects: list[Object], name: str, namespaces: set[str]) -> list[Object]:
    """Policy and binding under another name and for these namespaces only; the policy itself stays as it is."""
    policy, binding = copy.deepcopy(objects)
    policy["metadata"]["name"] = binding["metadata"]["name"] = binding["spec"]["policyName"] = name
    wanted = {"key": _names.NAMESPACE_LABEL, "operator": "In", "values": sorted(namespaces)}
    binding["spec"]["matchResources"] = {"namespaceSelector": {"matchExpressions": [wanted]}}
    return [policy, binding]


def path_of(kind: str, namespace: str) -> str:
    """Where objects of this kind are in the API; a Binding is a subresource of its pod."""
    group, plural = ("/apis/apps/v1", f"{kind.lower()}s") if kind in APPS else ("/api/v1", "pods")
    return f"{group}/namespaces/{PREFIX}{namespace}/{plural}"


# --- the cluster --------------------------------------------------------------------------------------------------------


class Judge:
    """The cluster with the stored objects and the policies, and what it says to a case."""

    def __init__(self, kubeconfig: str, data: Object) -> None:
        params = {"kubeconfig": kubeconfig, **dict.fromkeys(OPTIONS)}
        self.admin = Client(params)
        self.users = {key: User(params, name) for key, name in USERS.items()}
        self.data, self.bases = data, bases()
        self.stored: dict[tuple[str, str], Object] = {}

    def ask(self, method: str, path: str, body: Any = None, accept: tuple[int, ...] = ()) -> Any:
        """One call of the administrator that has to succeed or to give a status of ``accept``."""
        patch = {"content_type": "application/json-patch+json"} if method == "PATCH" else {}
        request = Request(path, f"{method} {path}", method=method, body=body, **patch)
        answer = self.admin.call(request)
        return answer.body if answer.status in accept else demand(answer, request, self.admin.target)

    @contextlib.contextmanager
    def prepared(self) -> Iterator[None]:
        """Everything is there until the end, and then nothing of it."""
        path = f"{ADMISSION}/{KINDS[1]}/{_admission.ENDPOINTS_POLICY}"
        if "spec" in self.ask("GET", path, accept=(404,)):
            raise AssertionError(
                f"{KINDS[1]}/{_admission.ENDPOINTS_POLICY} exists and would judge these cases too: take VPN egress off "
                "the cluster and run the test again."
            )
        self.remove()
        try:
            for name in NAMESPACES:
                self.ask("POST", "/api/v1/namespaces", {"metadata": {"name": PREFIX + name}})
                # The controller that makes it may be late, and without it there is no pod.
                account = {"metadata": {"name": "default"}}
                self.ask("POST", f"{NAMESPACE_PATH}{PREFIX}{name}/serviceaccounts", account, accept=(409,))
            for one in self.data["stored"]:
                self.store(one)
            for made in policies(self.data["policies"]):
                kind = KINDS[made["kind"] == "ValidatingAdmissionPolicyBinding"]
                self.ask("POST", f"{ADMISSION}/{kind}", made)
            yield
        finally:
            self.remove()

    def store(self, one: Object) -> None:
        """Make an object, before there is a policy against it."""
        made = apply_patch(self.bases[one["from"]], one.get("patch", []))
        made["metadata"]["name"] = one["name"]
        namespace = one.get("in", "downloads")
        self.stored[namespace, one["name"]] = self.ask("POST", path_of(made["kind"], namespace), made)

    def remove(self) -> None:
        """Take everything away, also what an earlier run left, and wait until it is gone."""
        names = {made["metadata"]["name"] for made in policies(self.data["policies"])}
        for kind in reversed(KINDS):
            for name in sorted(names):
                self.ask("DELETE", f"{ADMISSION}/{kind}/{name}", accept=(404,))
        for name in NAMESPACES:
            self.ask("DELETE", f"{NAMESPACE_PATH}{PREFIX}{name}", accept=(404, 409))
        done, left = wait_until(self._gone, timeout=GONE, sleep=0.3)
        if not done:
            raise AssertionError(f"{left} still exist {GONE:g} s after they were deleted.")

    def _gone(self) -> tuple[bool, list[str]]:
        left = []
        for name in NAMESPACES:
            if "spec" not in self.ask("GET", f"{NAMESPACE_PATH}{PREFIX}{name}", accept=(404,)):
                continue
            left.append(PREFIX + name)
            for pod in self.ask("GET", path_of("Pod", name))["items"]:
                if pod["metadata"].get("finalizers"):
                    # A policy of an earlier run may still be in force: then the next look tries again.
                    path = f"{path_of('Pod', name)}/{pod['metadata']['name']}"
                    self.ask("PATCH", path, [{"op": "remove", "path": "/metadata/finalizers"}], accept=(403, 404, 422))
        return not left, left

    def judge(self, case: Object) -> tuple[Answer, str]:
        """The API server's answer to a case, and the object in its words."""
        namespace, patch = case.get("in", "downloads"), case.get("patch", [])
        if "create" in case:
            made = copy.deepcopy(self.bases[case["create"]])
            made["metadata"].setdefault("name", "new")
            made = apply_patch(made, patch)
            kind, name = made["kind"], made["metadata"]["name"]
            path = path_of(kind, namespace) + (f"/{name}/binding" if kind == "Binding" else "")
            request = Request(path, "create", method="POST", body=made, query={"dryRun": "All"})
        else:
            kind, name = self.stored[namespace, case["update"]]["kind"], case["update"]
            path = "/".join([path_of(kind, namespace), name, *filter(None, [case.get("subresource")])])
            patch_type = "application/json-patch+json"
            request = Request(path, "update", "PATCH", patch, {"dryRun": "All"}, content_type=patch_type)
        resource = f"{kind.lower()}s.apps" if kind in APPS else "pods"
        return self.users[case.get("as", "alice")].call(request), f'{resource} "{name}"'

    def expect(self, case: Object) -> None:
        """The answer is the one that the case wants, word for word."""
        answer, object_ = self.judge(case)
        wanted = ["allowed"]
        if "refused" in case:
            refusals = [self.data["refusals"][name] for name in refusals_of(case)]
            names = [self.data["policies"][refusal["policy"]] for refusal in refusals]
            wanted = [
                f"{refusal.get('status', 403)} {object_} is forbidden: ValidatingAdmissionPolicy '{name}' with binding "
                f"'{name}' denied request: {refusal['sentence']}"
                for refusal, name in zip(refusals, names, strict=True)
            ]
        got = "allowed" if answer.ok else f"{answer.status} {answer.message}"
        assert got in wanted, "\n".join(["", *(f"  expected: {one}" for one in wanted), f"  got:      {got}"])
        if case.get("keeps"):
            held = self.stored[case.get("in", "downloads"), case["update"]]["metadata"]["annotations"]
            got = answer.body["metadata"]["annotations"]
            assert got == held, f"\n  expected annotations: {held}\n  got:                  {got}"

    def effective(self, key: str) -> None:
        """The policy refuses something, and the API server found no fault with the types of its expressions."""
        cases = [case for group in self.data["groups"] for case in group["cases"] if "refused" in case]
        first = next(case for case in cases if self.data["refusals"][refusals_of(case)[0]]["policy"] == key)

        def look() -> tuple[bool, str]:
            policy = self.ask("GET", f"{ADMISSION}/{KINDS[0]}/{self.data['policies'][key]}")
            status = policy.get("status", {})
            if self.judge(first)[0].status != 403:
                return False, f"{first['case']!r} is not refused"
            if status.get("observedGeneration") != policy["metadata"]["generation"]:
                return False, "its types were not checked"
            return True, yaml.safe_dump(status.get("typeChecking", {}).get("expressionWarnings", []))

        done, seen = wait_until(look, timeout=EFFECTIVE, sleep=0.2)
        assert done, f"after {EFFECTIVE:g} s {seen}"
        assert seen == "[]\n", f"the API server warns:\n{seen}"


def refusals_of(case: Object) -> list[str]:
    """The refusals of which a case gets one; none if it is allowed."""
    named = case.get("refused", [])
    return [named] if isinstance(named, str) else list(named)


def mistakes(data: Object) -> list[str]:
    """What is wrong with the case file: a refusal proves something only beside something that is allowed."""
    found = []
    cases = [case for group in data["groups"] for case in group["cases"]]
    for group in data["groups"]:
        refused = ["refused" in case for case in group["cases"]]
        if all(refused) or not any(refused):
            found.append(f"Group {group['group']!r} has to have both an allowed and a refused case.")
    names = [f"{group['group']}: {case['case']}" for group in data["groups"] for case in group["cases"]]
    found += [f"Case {name!r} is there twice." for name in sorted(set(names)) if names.count(name) > 1]
    unused = set(data["refusals"]) - {name for case in cases for name in refusals_of(case)}
    found += [f"Refusal {name!r} is not in any case." for name in sorted(unused)]
    tried = {refusal["policy"] for refusal in data["refusals"].values()}
    return found + [f"Policy {name!r} refuses nothing." for name in sorted(set(data["policies"]) - tried)]


def main() -> int:
    """All cases; prints one line for each policy and case and answers 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", type=Path)
    parser.add_argument("--kubeconfig", required=True, help="administrator's kubeconfig of the cluster")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_args: sys.exit(1))  # so that what was made is taken away
    data = yaml.safe_load(options.cases.read_text(encoding="utf-8"))
    problems = mistakes(data)
    if problems:
        parser.error(" ".join(problems))
    judge, failures = Judge(options.kubeconfig, data), 0

    def report(name: str, check: Any, subject: Any) -> None:
        nonlocal failures
        try:
            check(subject)
        except AssertionError as exc:
            failures += 1
            print(f"FAILED {name}: {exc}")
        else:
            print(f"ok     {name}")

    try:
        with judge.prepared():
            for key in data["policies"]:
                report(f"policy {key}", judge.effective, key)
            for group in data["groups"]:
                for case in group["cases"]:
                    report(f"{group['group']}: {case['case']}", judge.expect, case)
    except (AssertionError, KubeError) as exc:
        failures += 1
        print(f"FAILED {exc}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
