"""Configuration of the node's programs, as text and argument lists. Pure."""

from __future__ import annotations

import json
from pathlib import Path

from . import plan
from .paths import INSIDE_BIN, INSIDE_STATE

PKI = INSIDE_STATE / "pki"
ETC = Path("/etc/bulkhead-lab")  # configuration files, inside the lab's root file system
# Every container's cgroup lies below this one, so `down` can remove them all. A lab on another port has its own.
CGROUP = plan.CLUSTER_NAME + (
    "" if plan.API_LOOPBACK_PORT == plan.DEFAULT_LOOPBACK_PORT else f"-{plan.API_LOOPBACK_PORT}"
)
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
NETPOL_SOCKET = "/run/netpol.sock"
LOCAL_API = f"https://127.0.0.1:{plan.API_PORT}"

# The kubelet insists on these and would write them for the whole machine; the node sees
# files of its own in their place, so the machine keeps its values.
KERNEL_SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


def _json(content: object) -> str:
    """JSON is YAML: no serializer for the latter is needed."""
    return json.dumps(content, indent=1) + "\n"


def containerd() -> str:
    """containerd's configuration (TOML)."""
    return f"""version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "lab.local/pause:1"
  restrict_oom_score_adj = true
  disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/opt/cni/bin"
  conf_dir = "/etc/cni/net.d"
"""


def cni() -> str:
    """The CNI chain: point-to-point pods, our policy enforcer, host ports."""
    ranges = [[{"subnet": plan.POD_CIDR4}], [{"subnet": plan.POD_CIDR6}]]
    routes = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
    ipam = {"type": "host-local", "ranges": ranges, "routes": routes}
    return _json(
        {
            "cniVersion": "0.4.0",
            "name": "lab",
            "plugins": [
                {"type": "ptp", "ipMasq": True, "mtu": plan.POD_MTU, "ipam": ipam},
                {"type": "netpol-cni", "socket": NETPOL_SOCKET},
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ],
        }
    )


def kubelet() -> str:
    """KubeletConfiguration."""
    return _json(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": f"{PKI}/ca.crt"},
            },
            "authorization": {"mode": "Webhook"},
            "clusterDNS": [plan.DNS_SERVICE4],
            "clusterDomain": plan.CLUSTER_DOMAIN,
            "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{CGROUP}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {"memory.available": "100Mi"},
            "resolvConf": f"{ETC}/resolv.conf",
            "tlsCertFile": f"{PKI}/kubelet.crt",
            "tlsPrivateKeyFile": f"{PKI}/kubelet.key",
            "rotateCertificates": False,
        }
    )


def kube_proxy() -> str:
    """KubeProxyConfiguration."""
    return _json(
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": f"{ETC}/kube-proxy.conf"},
            "clusterCIDR": f"{plan.CLUSTER_CIDR4},{plan.CLUSTER_CIDR6}",
            "mode": "iptables",
            "hostnameOverride": plan.NODE_NAME,
            "conntrack": {"maxPerCore": 0},
        }
    )


def audit_policy() -> str:
    """Metadata of every request, once it is answered, except what the control plane only reads."""
    system = ["system:apiserver", "system:kube-controller-manager", "system:kube-scheduler", "system:kube-proxy"]
    return _json(
        {
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived"],
            "rules": [
                {"level": "None", "users": system, "verbs": ["get", "list", "watch"]},
                {
                    "level": "None",
                    "userGroups": ["system:nodes", "system:serviceaccounts"],
                    "verbs": ["get", "list", "watch"],
                },
                {"level": "None", "nonResourceURLs": ["/healthz*", "/livez*", "/readyz*"]},
                {"level": "Metadata"},
            ],
        }
    )


def files() -> dict[str, str]:
    """Configuration files by absolute path."""
    return {
        f"{ETC}/containerd.toml": containerd(),
        f"{ETC}/kubelet.yaml": kubelet(),
        f"{ETC}/kube-proxy.yaml": kube_proxy(),
        f"{ETC}/audit.yaml": audit_policy(),
        f"{ETC}/resolv.conf": f"nameserver {plan.RESOLVER4}\n",
        "/etc/cni/net.d/10-lab.conflist": cni(),
    }


KUBECONFIGS = ("admin", "controller-manager", "scheduler", "kubelet", "kube-proxy", "netpol")


def _kube(program: str, *flags: str) -> tuple[str, ...]:
    return (f"{INSIDE_BIN}/labkube", program, *flags)


def commands() -> dict[str, tuple[str, ...]]:
    """Argument list of each of the node's programs."""
    etcd_client, etcd_peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
    services = f"{plan.SERVICE_CIDR4},{plan.SERVICE_CIDR6}"
    return {
        "etcd": _kube(
            "etcd",
            "--data-dir=/var/lib/etcd",
            f"--listen-client-urls={etcd_client}",
            f"--advertise-client-urls={etcd_client}",
            f"--listen-peer-urls={etcd_peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ),
        "kube-apiserver": _kube(
            "kube-apiserver",
            f"--etcd-servers={etcd_client}",
            f"--advertise-address={plan.NODE4}",
            f"--secure-port={plan.API_PORT}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--service-cluster-ip-range={services}",
            f"--tls-cert-file={PKI}/apiserver.crt",
            f"--tls-private-key-file={PKI}/apiserver.key",
            f"--client-ca-file={PKI}/ca.crt",
            f"--service-account-key-file={PKI}/sa.pub",
            f"--service-account-signing-key-file={PKI}/sa.key",
            f"--service-account-issuer=https://kubernetes.default.svc.{plan.CLUSTER_DOMAIN}",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            "--enable-admission-plugins=NodeRestriction",
            f"--kubelet-client-certificate={PKI}/kubelet-client.crt",
            f"--kubelet-client-key={PKI}/kubelet-client.key",
            f"--requestheader-client-ca-file={PKI}/ca.crt",
            "--requestheader-allowed-names=front-proxy",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={PKI}/front-proxy.crt",
            f"--proxy-client-key-file={PKI}/front-proxy.key",
            f"--audit-policy-file={ETC}/audit.yaml",
            f"--audit-log-path={INSIDE_STATE}/audit.log",
        ),
        "kube-controller-manager": _kube(
            "kube-controller-manager",
            f"--kubeconfig={ETC}/controller-manager.conf",
            "--allocate-node-cidrs=true",
            f"--cluster-cidr={plan.CLUSTER_CIDR4},{plan.CLUSTER_CIDR6}",
            f"--service-cluster-ip-range={services}",
            f"--service-account-private-key-file={PKI}/sa.key",
            f"--root-ca-file={PKI}/ca.crt",
            "--use-service-account-credentials",
            "--leader-elect=false",
            f"--cluster-signing-cert-file={PKI}/ca.crt",
            f"--cluster-signing-key-file={PKI}/ca.key",
        ),
        "kube-scheduler": _kube("kube-scheduler", f"--kubeconfig={ETC}/scheduler.conf", "--leader-elect=false"),
        "containerd": ("containerd", "--config", f"{ETC}/containerd.toml"),
        "netpol": (
            f"{INSIDE_BIN}/netpol",
            "daemon",
            f"--kubeconfig={ETC}/netpol.conf",
            f"--node={plan.NODE_NAME}",
            f"--socket={NETPOL_SOCKET}",
            f"--uplink={plan.NODE_DEVICE}",
            "--mode=on",
        ),
        "kubelet": _kube(
            "kubelet",
            f"--config={ETC}/kubelet.yaml",
            f"--kubeconfig={ETC}/kubelet.conf",
            f"--hostname-override={plan.NODE_NAME}",
            f"--node-ip={plan.NODE4},{plan.NODE6}",
        ),
        "kube-proxy": _kube("kube-proxy", f"--config={ETC}/kube-proxy.yaml"),
    }
