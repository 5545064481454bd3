"""From a cluster with nothing of ours to one with nothing of ours, twice; what each run said and wrote is kept."""

from __future__ import annotations

import base64
import json
import os
import re
from dataclasses import dataclass, field
from typing import Any

import attached
import objects
import plays
from needles import Arguments
from running_lab import kubectl, lab

from bulkhead_lab import wireguard
from bulkhead_lab.paths import INSIDE_STATE, Paths

MADE = "runs-made"  # a namespace that only the inventory knows
USERS_LABELS = {"team": "media", "istio.io/dataplane-mode": "none"}  # the second one we want as well
VARIABLES = {
    **attached.VARIABLES,
    "bulkhead_namespaces": [*attached.VARIABLES["bulkhead_namespaces"], {"name": MADE, "mesh": "none"}],
}
WORKLOAD = f"{attached.CLIENTS}/{attached.NAME}"
# What stays of a sealed client: its layers, the guard's program, and that a pod with the guard may start.
KEPT = (
    f"+ NetworkPolicy.networking.k8s.io {attached.CLIENTS}/",
    "+ ValidatingAdmissionPolicy.admissionregistration.k8s.io bulkhead-vpn-client.",
    "+ ValidatingAdmissionPolicy.admissionregistration.k8s.io bulkhead-vpn-workload.",
    "+ ValidatingAdmissionPolicyBinding.admissionregistration.k8s.io bulkhead-vpn-client.",
    "+ ValidatingAdmissionPolicyBinding.admissionregistration.k8s.io bulkhead-vpn-workload.",
    f"+ ConfigMap {attached.CLIENTS}/bulkhead-agent-",
    "+ ConfigMap kube-system/bulkhead-namespaces",
    f"~ Namespace {attached.CLIENTS}: ",
)


@dataclass
class Story:
    """The runs by name, and what was read between them."""

    runs: dict[str, plays.Run] = field(default_factory=dict, repr=False)
    untouched: list[str] = field(default_factory=list)  # between two looks at the same cluster
    tried: dict[str, list[str]] = field(default_factory=dict)  # what is another after a run in check mode
    attached: list[str] = field(default_factory=list)  # while ours is there
    sealed: list[str] = field(default_factory=list)  # after teardown, but for the workload's template
    template: list[str] = field(default_factory=list)  # what teardown changed of the attached workload
    made: dict[str, Any] = field(default_factory=dict)  # the run's own namespace after it
    opened: list[str] = field(default_factory=list)  # after teardown with detach_to: open
    # What follows is never printed.
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    sources: dict[str, bytes] = field(default_factory=dict, repr=False)
    users_secret: bytes = field(default=b"", repr=False)
    arguments: Arguments = field(default_factory=Arguments, repr=False)


def left(attached_: list[str] | None = None) -> list[str]:
    """What may differ afterwards: a namespace that the run made is never deleted.

    With what differed while the client was attached: it is sealed now, so its layers stay.
    """
    made = [f"+ Namespace {MADE}", f"+ ConfigMap {MADE}/kube-root-ca.crt", f"+ ServiceAccount {MADE}/default"]
    if attached_ is None:
        return sorted(made)
    layers = [line for line in attached_ if line.startswith(KEPT)]
    return sorted([*made, *layers, f"- Pod {WORKLOAD}-0", f"~ StatefulSet.apps {WORKLOAD}: spec.replicas"])


def without_template(found: objects.Listing) -> objects.Listing:
    """A listing without the workload's pod template."""
    name = f"StatefulSet.apps {WORKLOAD}"
    kept = {key: digest for key, digest in found[name].items() if not key.startswith("spec.template")}
    return {**found, name: kept}


def insist_on_a_fresh_cluster() -> None:
    """Stop where another suite, or a person, is at work: the end of the story would take it away."""
    names = kubectl("get", "namespace", attached.CLIENTS, attached.VPN, MADE, "--ignore-not-found", "--output=name")
    assert not names, f"the lab is not fresh, it has {names.split()}"


def tell(paths: Paths) -> Story:
    """Do it all."""
    story = Story()
    for one in _users_objects(paths, story):
        kubectl("create", "-f", "-", stdin=json.dumps(one))  # apply would copy the Secret into an annotation of it
    kubectl("-n", attached.CLIENTS, "rollout", "status", f"statefulset/{attached.NAME}", "--timeout=60s")
    before = objects.now()
    story.untouched = objects.difference(before, objects.now())

    def run(name: str, playbook: str, *words: str, **more: Any) -> None:
        found = story.runs[name] = _run(paths, playbook, *words, **more)
        assert found.code == 0, f"{name}: {found.output[-4000:]}"

    def check(name: str, playbook: str) -> None:
        standing = objects.now()
        run(name, playbook, "--check", "--diff")
        story.tried[name] = objects.difference(standing, objects.now())

    with story.arguments:
        check("check on fresh", "site")
        story.runs["site unseen"] = _run(paths, "site", "--skip-tags", "preflight")
        run("site", "site", "-vvv", "--diff")
        behind = objects.now()
        story.attached = objects.difference(before, behind)
        run("site again", "site")
        check("check on converged", "site")
        run("verify", "verify", "-vvv", "--diff")
        _collect(paths, story)
        check("check of teardown", "teardown")
        run("teardown", "teardown", "-vvv", "--diff")
    bare, wanted = without_template(before), left(story.attached)
    story.sealed = objects.settled(bare, wanted, lambda: without_template(objects.now()))
    changed = objects.difference(behind, objects.now())
    story.template = [line for line in changed if line.startswith(f"~ StatefulSet.apps {WORKLOAD}")]
    story.made = json.loads(kubectl("get", "namespace", MADE, "--show-managed-fields", "--output=json"))["metadata"]
    run("teardown again", "teardown")
    kubectl("-n", attached.CLIENTS, "scale", "statefulset", attached.NAME, "--replicas=1")
    run("site after all", "site")
    run("teardown to open", "teardown", bulkhead_detach_to="open")
    story.opened = objects.settled(before, left())
    story.sources.update({f"output of {name}": one.output.encode() for name, one in story.runs.items()})
    story.sources["arguments of processes"] = story.arguments.text
    # the request lines, and all that the audit log says about a request
    story.sources["audit log"] = (paths.state / "audit.log").read_bytes()
    return story


def clean_up(paths: Paths, *, told: bool) -> None:
    """Remove what the story leaves, also when it was not ``told`` to its end."""
    if not told:
        _run(paths, "teardown", bulkhead_detach_to="open")
    kubectl("delete", "namespace", attached.CLIENTS, attached.VPN, MADE, "--ignore-not-found")
    _preshared(paths, "/dev/null")


def _users_objects(paths: Paths, story: Story) -> list[dict[str, Any]]:
    """What the user has before; the VPN's server wants a preshared key of its own, and namespaces have labels."""
    story.secrets["preshared key"] = base64.b64encode(os.urandom(32)).decode()
    made = attached.user_objects(paths)
    for one in made:
        if one["kind"] == "Namespace":
            one["metadata"]["labels"] = dict(USERS_LABELS)
        if one["kind"] == "Secret":
            (name,) = one["stringData"]
            config = one["stringData"][name]
            (story.secrets["private key"],) = re.findall(r"(?m)^PrivateKey *= *(\S+)", config)
            line = f"[Peer]\nPresharedKey = {story.secrets['preshared key']}\n"
            one["stringData"][name] = config.replace("[Peer]\n", line)
            assert line in one["stringData"][name], "the provider's configuration has another form"
    key = paths.state / "runs-preshared.key"
    key.write_text(story.secrets["preshared key"])
    try:
        _preshared(paths, str(INSIDE_STATE / key.name))
    finally:
        key.unlink()
    return made


def _preshared(paths: Paths, file: str) -> None:
    """Have the VPN's server use the preshared key in ``file`` for our client."""
    server = attached.SERVER
    config = (wireguard.folder(paths.state, server) / "server.conf").read_text()
    peer = re.findall(r"(?m)^PublicKey *= *(\S+)", config)[attached.CLIENT_NUMBER - 1]
    device = wireguard.device(server)
    lab("exec", f"vpn-{server.name}", "--", "wg", "set", device, "peer", peer, "preshared-key", file)


def _run(paths: Paths, playbook: str, *words: str, **more: Any) -> plays.Run:
    return plays.run(
        paths,
        playbook,
        *words,
        inventory="molecule/inventory.yml",
        variables={**VARIABLES, **more},
        vpn_namespace=attached.VPN,
        # with -vvv it shows the options of modules only when told so
        env={"ANSIBLE_INJECT_INVOCATION": "true"},
    )


def _collect(paths: Paths, story: Story) -> None:
    """All that anybody may read while ours is there."""
    items = objects.read() + json.loads(kubectl("get", "events", "--all-namespaces", "--output=json"))["items"]
    for item in items:
        if item["kind"] == "Secret":
            item.pop("data", None)  # the place they belong to; its labels and annotations are not
    story.sources["objects"] = json.dumps(items).encode()
    for namespace in (attached.CLIENTS, attached.VPN):
        for pod in kubectl("-n", namespace, "get", "pods", "--output=name").split():
            text = kubectl("-n", namespace, "logs", pod, "--all-containers", "--prefix")
            story.sources[f"log of {namespace} {pod}"] = text.encode()
    for file in sorted(paths.log.iterdir()):
        if file.name.startswith(("kube", "containerd", "etcd")):
            story.sources[f"log of the node's {file.stem}"] = file.read_bytes()
    story.users_secret = kubectl("-n", attached.VPN, "get", "secret", "provider", "--output=json").encode()
