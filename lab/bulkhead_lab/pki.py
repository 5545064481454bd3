"""Certificates and kubeconfigs of the cluster, made once per lab with openssl."""

from __future__ import annotations

import json
import os
import shutil
from base64 import b64encode
from pathlib import Path

from . import plan
from .build import run

DAYS = "365"
API_NAMES = (
    "DNS:localhost",
    "DNS:kubernetes",
    "DNS:kubernetes.default",
    "DNS:kubernetes.default.svc",
    f"DNS:kubernetes.default.svc.{plan.CLUSTER_DOMAIN}",
    "IP:127.0.0.1",
    f"IP:{plan.API_SERVICE4}",
    f"IP:{plan.NODE4}",
)
NODE_NAMES = (f"DNS:{plan.NODE_NAME}", f"IP:{plan.NODE4}", f"IP:{plan.NODE6}")
# name -> subject, subject alternative names
LEAVES: dict[str, tuple[str, tuple[str, ...]]] = {
    "apiserver": ("/CN=kube-apiserver", API_NAMES),
    "admin": ("/O=system:masters/CN=lab-admin", ()),
    "kubelet-client": ("/O=system:masters/CN=kube-apiserver-kubelet-client", ()),
    "controller-manager": ("/CN=system:kube-controller-manager", ()),
    "scheduler": ("/CN=system:kube-scheduler", ()),
    "kubelet": (f"/O=system:nodes/CN=system:node:{plan.NODE_NAME}", NODE_NAMES),
    "kube-proxy": ("/CN=system:kube-proxy", ()),
    "netpol": ("/O=system:masters/CN=lab-netpol", ()),
    "front-proxy": ("/CN=front-proxy", ()),
}


def make(folder: Path) -> None:
    """Fill ``folder`` with ca, service account key and all leaves, unless it is complete already."""
    if folder.is_dir():
        return
    temporary = folder.with_name(folder.name + ".new")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True, mode=0o700)
    old_mask = os.umask(0o077)
    try:
        _authority(temporary)
        for name, (subject, names) in LEAVES.items():
            _leaf(temporary, name, subject, names)
    finally:
        os.umask(old_mask)
    temporary.rename(folder)


def _openssl(folder: Path, *arguments: str) -> None:
    run(["openssl", *arguments], what="Making the lab's certificates", cwd=folder)


def _key(folder: Path, name: str) -> None:
    _openssl(folder, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", f"{name}.key")


def _authority(folder: Path) -> None:
    _key(folder, "ca")
    _openssl(folder, "req", "-x509", "-new", "-key", "ca.key", "-subj", "/CN=lab-ca", "-days", DAYS, "-out", "ca.crt")
    _key(folder, "sa")
    _openssl(folder, "pkey", "-in", "sa.key", "-pubout", "-out", "sa.pub")


def _leaf(folder: Path, name: str, subject: str, names: tuple[str, ...]) -> None:
    _key(folder, name)
    _openssl(folder, "req", "-new", "-key", f"{name}.key", "-subj", subject, "-out", f"{name}.csr")
    extensions = ["keyUsage=digitalSignature", "extendedKeyUsage=serverAuth,clientAuth"]
    if names:
        extensions.append("subjectAltName=" + ",".join(names))
    (folder / f"{name}.ext").write_text("\n".join(extensions) + "\n")
    sign = ["x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"]
    _openssl(folder, *sign, "-days", DAYS, "-extfile", f"{name}.ext", "-out", f"{name}.crt")
    for suffix in ("csr", "ext"):
        (folder / f"{name}.{suffix}").unlink()


def write_kubeconfig(target: Path, pki: Path, user: str, server: str) -> None:
    """A kubeconfig (mode 0600) with the certificates inside, written as JSON, which is YAML."""

    def data(name: str) -> str:
        return b64encode((pki / name).read_bytes()).decode()

    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": plan.CLUSTER_NAME, "cluster": {"server": server, "certificate-authority-data": data("ca.crt")}}
        ],
        "users": [
            {
                "name": user,
                "user": {"client-certificate-data": data(f"{user}.crt"), "client-key-data": data(f"{user}.key")},
            }
        ],
        "contexts": [{"name": plan.CLUSTER_NAME, "context": {"cluster": plan.CLUSTER_NAME, "user": user}}],
        "current-context": plan.CLUSTER_NAME,
    }
    temporary = target.with_name(target.name + ".new")
    temporary.touch(mode=0o600)
    temporary.write_text(json.dumps(content, indent=1))
    temporary.rename(target)
