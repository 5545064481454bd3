"""The node's first process: mounts, configuration, then the programs of a one-node cluster.

Runs in network, PID, mount and UTS namespaces of its own with shared mount
propagation (istio-cni needs it), below tini, which reaps.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import ssl
import threading
import urllib.request
from collections.abc import Callable, Container
from pathlib import Path

from . import nodeconfig, pki, plan
from .build import run
from .control import serve
from .errors import LabError
from .paths import INSIDE, INSIDE_BIN, INSIDE_STATE
from .service import Service
from .supervisor import Supervisor

NODE_STATE = INSIDE_STATE / "node"
PERSISTENT = (
    "/var/lib/containerd",
    "/var/lib/kubelet",
    "/var/lib/etcd",
    "/var/lib/cni",
    "/var/log/pods",
    "/var/log/containers",
)
CONTROL = NODE_STATE / "control.sock"
FIRST_IMAGES = ("image-pause", "image-coredns")  # of the pods that a node starts with
CTR = ("ctr", "--address", nodeconfig.CONTAINERD_SOCKET, "-n", "k8s.io", "images")


def mount_everything() -> None:
    """Own /run; node data outside the overlay (a second overlay cannot lie on one); settings of the kernel masked."""
    run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"], what="Mounting the node's /run")
    for folder in ("/run/netns", "/run/lock"):
        Path(folder).mkdir(parents=True)
    for name in PERSISTENT:
        source = NODE_STATE / "data" / name.lstrip("/")
        for folder in (source, Path(name)):
            folder.mkdir(parents=True, exist_ok=True)
        run(["mount", "--bind", str(source), name], what=f"Mounting the node's {name}")
    for name, value in nodeconfig.KERNEL_SETTINGS.items():
        mask = Path("/run/kernel-settings") / name
        mask.parent.mkdir(parents=True, exist_ok=True)
        mask.write_text(value + "\n")
        run(["mount", "--bind", str(mask), f"/proc/sys/{name}"], what=f"Masking the kernel setting {name}")


def write_configuration() -> None:
    """All files that the programs read."""
    for name, content in nodeconfig.files().items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    for user in nodeconfig.KUBECONFIGS:
        pki.write_kubeconfig(nodeconfig.ETC / f"{user}.conf", nodeconfig.PKI, user, nodeconfig.LOCAL_API)
    shutil.copytree("/usr/lib/cni", "/opt/cni/bin", dirs_exist_ok=True)
    shutil.copy(INSIDE_BIN / "netpol-cni", "/opt/cni/bin/netpol-cni")
    for family in ("4", "6"):
        setting = "net.ipv4.ip_forward" if family == "4" else "net.ipv6.conf.all.forwarding"
        run(["sysctl", "-qw", f"{setting}=1"], what="Switching on forwarding on the node")


def make_cgroups() -> None:
    """The kubelet wants its cgroup root to exist in every hierarchy (version 1) or the one (version 2)."""
    base = Path("/sys/fs/cgroup")
    hierarchies = [base] if (base / "cgroup.controllers").exists() else [p for p in base.iterdir() if p.is_dir()]
    for hierarchy in hierarchies:
        try:
            (hierarchy / nodeconfig.CGROUP).mkdir(exist_ok=True)
        except OSError as exc:
            if hierarchy.name != "unified":  # version 2 beside version 1 carries no controllers
                raise LabError(f"The node needs to make a cgroup in {hierarchy} and cannot: {exc.strerror}.") from exc


def _listens(path: str) -> Callable[[], bool]:
    def ready() -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(path) == 0

    return ready


def api_ready() -> bool:
    """Whether the API server says so itself."""
    context = ssl.create_default_context(cafile=f"{nodeconfig.PKI}/ca.crt")
    context.load_cert_chain(f"{nodeconfig.PKI}/admin.crt", f"{nodeconfig.PKI}/admin.key")
    try:
        with urllib.request.urlopen(f"{nodeconfig.LOCAL_API}/readyz", timeout=2, context=context) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def stand_ins(said: str) -> dict[str, str]:
    """Images that ``ctr images import`` says it has unpacked, each with the image of ours that it takes the place of.

    A user's archive keeps its name (``docker.io/istio/ztunnel:1.31.1-distroless``), the charts ask for the lab's.
    """
    imported = re.findall(r"^unpacking (\S+) ", said, re.MULTILINE)
    components = {reference: reference.rpartition("/")[2].partition(":")[0] for reference in imported}
    return {
        reference: plan.istio_image(component)
        for reference, component in components.items()
        if component in plan.ISTIO_IMAGES and reference != plan.istio_image(component)
    }


def import_images(only: Container[str] | None = None) -> None:
    """Import image archives that this lab's containerd has not seen: ours, then a user's, which win over ours.

    They win by name, and where ours stands in for a component of another name. ``only`` names the parts to look at.
    """
    seen_file = NODE_STATE / "images.json"
    seen = json.loads(seen_file.read_text()) if seen_file.exists() else {}
    parts = json.loads((INSIDE_STATE / "parts.json").read_text())
    archives = {
        name: INSIDE / "build" / f"{name}-{key}" / "image.tar"
        for name, key in parts.items()
        if name.startswith("image-")
    }
    archives.update({f"extra {path.name}": path for path in sorted((INSIDE / "extra-images").glob("*.tar"))})
    for name, path in archives.items():
        if only is not None and name not in only:
            continue
        stamp = f"{path}:{path.stat().st_mtime_ns}"
        if seen.get(name) == stamp:
            continue
        said = run([*CTR, "import", str(path)], what=f"Importing {name}")
        if name.startswith("extra "):
            for real, ours in stand_ins(said).items():
                run([*CTR, "tag", "--force", real, ours], what=f"Putting {real} in the place of {ours}")
        seen[name] = stamp
        seen_file.write_text(json.dumps(seen))


def set_proxy_arp(value: str) -> str:
    """Answer ARP on the pods' links for every address (``on``), as several CNIs do, or not (``off``).

    This is where device-bound traffic leaks. New pods follow by the default setting.
    """
    if value not in ("on", "off"):
        raise LabError(f"proxy-arp is {value!r}, but can only be 'on' or 'off'.")
    number = "1" if value == "on" else "0"
    base = Path("/proc/sys/net/ipv4/conf")
    for link in [base / "default", *base.glob("veth*")]:
        (link / "proxy_arp").write_text(number)
    return value


def main() -> None:
    """Set the node up and answer commands; tini ends when this does."""
    os.environ["PATH"] = f"{INSIDE_BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    socket.sethostname(plan.NODE_NAME)
    mount_everything()
    make_cgroups()
    write_configuration()
    supervisor = Supervisor(INSIDE_STATE / "log")
    phase = {"phase": "starting"}
    first_images = threading.Event()
    services = {name: Service(name, argv) for name, argv in nodeconfig.commands().items()}
    services["kube-apiserver"] = Service(
        "kube-apiserver", services["kube-apiserver"].argv, ready=api_ready, ready_timeout=90
    )
    services["containerd"] = Service(
        "containerd", services["containerd"].argv, ready=_listens(nodeconfig.CONTAINERD_SOCKET), ready_timeout=60
    )

    def start() -> None:
        try:
            supervisor.start(services["etcd"])
            images = threading.Thread(target=images_ready)
            images.start()
            supervisor.start(services["kube-apiserver"])
            for name in ("kube-controller-manager", "kube-scheduler", "netpol", "kube-proxy"):
                supervisor.start(services[name])
            first_images.wait()
            supervisor.start(services["kubelet"])
            images.join()
            if phase["phase"] == "starting":
                phase["phase"] = "ready"
        except LabError as exc:
            phase["phase"] = f"failed: {exc}"

    def images_ready() -> None:
        try:
            supervisor.start(services["containerd"])
            import_images(FIRST_IMAGES)
            first_images.set()  # the kubelet gets to work while the others come
            import_images()
        except (LabError, OSError) as exc:
            phase["phase"] = f"failed: {exc}"
        finally:
            first_images.set()

    def start_again(name: str) -> None:
        supervisor.start(supervisor.service(name))

    threading.Thread(target=start, daemon=True).start()
    serve(
        CONTROL,
        {
            "status": lambda: {**phase, "services": supervisor.status()},
            "start": start_again,
            "stop": supervisor.stop,
            "import-images": import_images,
            "proxy-arp": set_proxy_arp,
        },
    )


if __name__ == "__main__":
    main()
