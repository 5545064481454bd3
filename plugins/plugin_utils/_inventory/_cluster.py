# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Variables about the cluster, its components and its namespaces. Pure."""

from __future__ import annotations

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._sealed import CHOICES
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._chart import FRR
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._level import CHANNELS
from ansible_collections.bulkhead.mesh.plugins.module_utils._ingress._namespaces import MESHES
from ansible_collections.bulkhead.mesh.plugins.module_utils._mesh._charts import PARTS, RELEASES
from ansible_collections.bulkhead.mesh.plugins.plugin_utils._inventory._field import (
    EVERYWHERE,
    SITE,
    TEARDOWN,
    VERIFY,
    Field,
    Variable,
    choice,
    flag,
    keyed,
    listed,
    number,
    text,
    texts,
    tree,
)
from ansible_collections.bulkhead.mesh.plugins.plugin_utils._preflight import COMPONENTS, NAMES, STATES

_CHART_VALUES = "Values of the chart, over those of this collection."


def _chart(name: str, repository: str) -> dict[str, Field]:
    return {
        "namespace": text("Namespace of the release.", name, absent=f"V({name})"),
        "chart": text("Name of the chart, a folder, an archive, or oci://...", "charts/x"),
        "chart_repo": text("Repository of the chart.", repository, absent=repository),
        "values": tree(_CHART_VALUES, {"replicas": 1}, absent="none"),
    }


_NAMESPACE = {
    "name": text("Name of the namespace.", "core", needed=True),
    "mesh": choice("How its pods are in the mesh.", MESHES, absent="V(unmanaged)"),
    "egress": choice("Whether a pod gets out without a policy that selects it.", CHOICES, absent="V(open)"),
    "segments": texts("Segments whose gateways its routes may attach to.", "arr", absent="none"),
}
_ISTIO = {
    "version": text("Version of the charts.", "1.31.1", absent="V(1.31.1)"),
    "namespace": text("Namespace of the control plane.", "istio-system", absent="V(istio-system)"),
    "mode": choice("Whether ztunnel and the CNI agent are installed.", tuple(PARTS), absent="V(ambient)"),
    "platform": text("Platform for the charts.", "plain", absent="V(auto)"),
    "hub": text("Registry and path of the images.", "registry.example.com/istio", absent="docker.io/istio"),
    "tag": text("Tag of the images; it begins with the version.", "1.31.1", absent="the version"),
    "variant": text("Variant of the images.", "distroless", absent="V(distroless)"),
    "charts": keyed(
        "Charts from elsewhere.", {part: text("Folder, archive, or oci://...", f"charts/{part}") for part in RELEASES}
    ),
    "chart_repo": text("Repository of the charts.", "https://charts.example.com", absent="upstream's"),
    "values": keyed("Values for each chart.", {part: tree(_CHART_VALUES, {"a": 1}) for part in RELEASES}),
    "wait_timeout": number("Seconds each chart may take until it serves.", 300, absent="300"),
}
_METALLB = {
    "version": text("Version of the chart.", "0.16.1", absent="V(0.16.1)"),
    **_chart("metallb-system", "https://metallb.github.io/metallb"),
    "frr": choice("What speaks BGP.", FRR, absent="V(none)"),
    "load_balancer_class": text("Class of the Services that MetalLB takes care of.", "metallb", absent="those of none"),
}
_TAILSCALE = {
    "version": text("Version of the chart.", "1.98.10", absent="V(1.98.10)"),
    **_chart("tailscale", "https://pkgs.tailscale.com/helmcharts"),
    "oauth_secret": text("Secret with client_id and client_secret.", "tailscale-oauth"),
    "oauth_file": text("File with both; it becomes a Secret.", ""),
    "login_server": text("URL of the control server.", "https://control.example.org", absent="Tailscale's own"),
    "tags": keyed(
        "Tags of devices.",
        {
            "operator": texts("Of the operator.", "tag:k8s-operator", absent="V(tag:k8s-operator)"),
            "proxies": texts("Of proxies that ask for none.", "tag:k8s", absent="V(tag:k8s)"),
        },
    ),
    "proxy_class": Field("any", "Spec of a ProxyClass, or the name of one.", "mine", absent="none"),
    "wait_timeout": number("Seconds it may take to be ready.", 180, absent="180"),
}
VARIABLES: dict[str, Variable] = {
    "bulkhead_kubeconfig": Variable(
        Field("any", "Kubeconfig, as a path or its content.", "~/.kube/config", absent="as kubectl finds it"),
        EVERYWHERE,
    ),
    "bulkhead_context": Variable(text("Context of the kubeconfig.", "home", absent="the current one"), EVERYWHERE),
    "bulkhead_components": Variable(
        keyed(
            "Who takes care of what.",
            {name: choice(f"{NAMES[name]}.", STATES) for name in COMPONENTS},
            absent="managed where another variable needs it",
        ),
        (SITE, TEARDOWN),
    ),
    "bulkhead_namespaces": Variable(
        listed("Namespaces to keep, with their labels.", keyed("A namespace.", _NAMESPACE), absent="none is touched"),
        EVERYWHERE,
        parsed=True,
    ),
    "bulkhead_privileged_namespaces": Variable(
        texts("More namespaces whose pods need Pod Security's level privileged.", "core", absent="none"), (SITE,)
    ),
    "bulkhead_cluster_domain": Variable(
        text("Domain of the cluster.", "cluster.local", absent="V(cluster.local)"), (SITE, VERIFY)
    ),
    "bulkhead_probe": Variable(flag("Whether a disposable pod looks at what only a pod sees.", absent="no"), (SITE,)),
    "bulkhead_probe_image": Variable(text("Image of that pod.", "busybox:1", absent="busybox"), (SITE,)),
    "bulkhead_probe_namespace": Variable(text("Its namespace.", "default", absent="V(default)"), (SITE,)),
    "bulkhead_gateway_api": Variable(
        keyed(
            "The kinds of the Gateway API.",
            {
                "version": text("Version.", "1.6.1", absent="V(1.6.1)"),
                "channel": choice("Channel.", CHANNELS, absent="V(standard)"),
                "source": text("Path or URL of the installation file.", "files/install.yaml", absent="GitHub"),
                "allow_policy_removal": flag("Whether upstream's policy safe-upgrades may be taken away.", False),
            },
        ),
        (SITE,),
    ),
    "bulkhead_istio": Variable(keyed("Istio.", _ISTIO), (SITE, TEARDOWN)),
    "bulkhead_metallb": Variable(keyed("MetalLB.", _METALLB), (SITE, TEARDOWN)),
    "bulkhead_tailscale": Variable(keyed("The Tailscale operator.", _TAILSCALE), (SITE, TEARDOWN)),
    "bulkhead_delete_gateway_api": Variable(
        flag("Whether teardown deletes the definitions of the Gateway API.", False, absent="they stay"), (TEARDOWN,)
    ),
}
