"""up, down and restart of the whole lab, seen from the machine."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import checks, control, plan, tailnet
from .build import Store, remove_tree
from .errors import LabError
from .nodeconfig import CGROUP
from .paths import CHECKOUT_LAB, Paths
from .procs import children, start_time
from .progress import Progress
from .recipes import recipes

START, WAIT, CLUSTER = "starting node and outside world", "waiting for the node", "waiting for cluster DNS"
HEAVY = ("labkube", "istio", "tailscale")  # parts that fill Go's caches with gigabytes
START_TIMEOUT = 300.0  # seconds
APPEAR_TIMEOUT = 5.0  # seconds from the start until the root process must have left its pid
READY_TIMEOUT = "120s"


@contextmanager
def locked(paths: Paths) -> Iterator[None]:
    """One ``up`` or ``down`` at a time; a second one waits and says so."""
    paths.home.mkdir(parents=True, exist_ok=True)
    with (paths.home / "lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another `lab` command is at work; waiting for it", file=sys.stderr)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def lab_pid(paths: Paths) -> int | None:
    """The lab's root process as the machine sees it, or None."""
    try:
        pid, started = paths.pid_file.read_text().split()
    except (OSError, ValueError):
        return None
    return int(pid) if start_time(int(pid)) == started else None


def status(paths: Paths) -> dict[str, Any]:
    """``state`` is down, starting, up or broken; with the lab's own account when it answers."""
    if lab_pid(paths) is None:
        return {"state": "broken" if paths.state.exists() else "down"}
    try:
        told = control.call(paths.control_socket, "status")
    except OSError:
        return {"state": "starting"}
    phase = told["phase"]
    state = "up" if phase == "ready" else "broken" if phase.startswith("failed") else "starting"
    return {"state": state, **told}


def up(paths: Paths) -> Progress:
    """Build what is missing, start what does not run, wait until the node is Ready. Idempotent."""
    checks.this_machine()
    store = Store(paths, recipes())
    missing = store.missing()
    checks.before_build(paths.home, cold=any(recipe.name in HEAVY for recipe in missing))
    with locked(paths):
        missing = store.missing()
        running = lab_pid(paths) is not None
        steps = [(f"building {recipe.name}", recipe.estimate) for recipe in missing]
        steps += [] if running else [(START, 1.0)]
        progress = Progress([*steps, (WAIT, 25.0), (CLUSTER, 8.0)], paths.home / "timings.json")
        for recipe in missing:
            with progress.step(f"building {recipe.name}"):
                store.build(recipe)
        if running:
            _warn_of_changes(paths, store)
        else:
            with progress.step(START):
                _start(paths, store)
        with progress.step(WAIT):
            _wait_until_ready(paths)
            for condition in ("create", "condition=Ready"):
                kubectl(paths, "wait", f"--for={condition}", f"node/{plan.NODE_NAME}", f"--timeout={READY_TIMEOUT}")
        with progress.step(CLUSTER):
            kubectl(paths, "apply", "--server-side", "-f", str(CHECKOUT_LAB / "manifests"))
            kubectl(paths, "-n", "kube-system", "rollout", "status", "deployment/coredns", f"--timeout={READY_TIMEOUT}")
    return progress


def down(paths: Paths) -> None:
    """Stop everything and remove the running lab's files; builds stay. Idempotent."""
    checks.this_machine()
    with locked(paths):
        _stop(paths)
        remove_tree(paths.state)
        _remove_cgroups()


def _start(paths: Paths, store: Store) -> None:
    _stop(paths)  # what a killed `up` left
    checks.loopback_port()
    store.clean_up()
    paths.log.mkdir(parents=True, exist_ok=True)
    paths.parts.write_text(json.dumps(store.generation))
    _lay_out(paths, store)
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT_LAB), "PYTHONDONTWRITEBYTECODE": "1"}
    with (paths.log / "lab-init.log").open("ab") as log:
        subprocess.Popen(
            [sys.executable, "-m", "bulkhead_lab.enter", str(paths.home)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
            cwd="/",
        )


def _lay_out(paths: Paths, store: Store) -> None:
    """Programs, Python code and root file system as the lab sees them: snapshots and links, not the checkout."""
    remove_tree(paths.state / "py")
    shutil.copytree(
        CHECKOUT_LAB / "bulkhead_lab", paths.state / "py" / "bulkhead_lab", ignore=shutil.ignore_patterns("__pycache__")
    )
    binaries = paths.state / "bin"
    remove_tree(binaries)
    binaries.mkdir()
    for name in ("tools", "labkube", "netpol", "tailnet"):
        folder = store.folder(name)
        for program in folder.iterdir():
            (binaries / program.name).symlink_to(f"/opt/lab/build/{folder.name}/{program.name}")
    (binaries / "tailscale").symlink_to("tailscaled")  # one program, which goes by its name
    (binaries / "wireguard-go").symlink_to(f"/opt/lab/build/{store.folder('wireguard').name}/wireguard")
    for name, folder in (("rootfs", store.folder("rootfs") / "root"), ("charts", store.folder("charts"))):
        link = paths.state / name
        link.unlink(missing_ok=True)
        link.symlink_to(folder)


def _wait_until_ready(paths: Paths) -> None:
    """Until the lab says that it is up; a root process that does not show up or vanishes ends the wait early."""
    start = time.monotonic()
    told = "its root process never started"
    while time.monotonic() - start < START_TIMEOUT:
        seen = status(paths)
        if seen["state"] == "up":
            return
        if "phase" in seen:
            told = str(seen["phase"])
            if told.startswith("failed"):
                break
        elif lab_pid(paths) is None and time.monotonic() - start > APPEAR_TIMEOUT:
            break
        time.sleep(0.2)
    raise LabError(f"The lab did not come up: {told}; see the logs in {paths.log}, then run `lab down` and `lab up`.")


def _warn_of_changes(paths: Paths, store: Store) -> None:
    running = json.loads(paths.parts.read_text())
    changed = sorted(name for name, key in store.generation.items() if running.get(name) != key)
    if changed:
        print(
            f"the running lab has older parts ({', '.join(changed)}): `lab down` and `lab up` take the new ones",
            file=sys.stderr,
        )


def _stop(paths: Paths) -> None:
    pid = lab_pid(paths)
    if pid is None:
        return
    victims = [*children(pid), pid]
    identities = {victim: start_time(victim) for victim in victims}
    for victim in victims:
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            continue
    deadline = time.monotonic() + 30
    while any(identity is not None and start_time(victim) == identity for victim, identity in identities.items()):
        if time.monotonic() > deadline:
            raise LabError(f"Process {pid} of the lab did not end within 30 s; look at it with `ps -p {pid}`.")
        time.sleep(0.05)
    paths.pid_file.unlink(missing_ok=True)


def _remove_cgroups() -> None:
    """Empty cgroups vanish child first; the kernel may take a moment to let go of the last process."""
    base = Path("/sys/fs/cgroup")
    for root in [base / CGROUP, *base.glob(f"*/{CGROUP}")]:
        deadline = time.monotonic() + 10
        while root.is_dir():
            try:
                for folder, _, _ in os.walk(root, topdown=False):
                    os.rmdir(folder)
            except OSError as exc:
                if time.monotonic() > deadline:
                    raise LabError(f"The cgroup {root} could not be removed: {exc.strerror}.") from exc
                time.sleep(0.1)


def part_folder(paths: Paths, name: str) -> Path:
    """Where the part ``name`` of this checkout lies once it is built."""
    return Store(paths, recipes()).folder(name)


def charts(paths: Paths) -> Path:
    """The folder of charts and manifests; LabError before they are there."""
    folder = part_folder(paths, "charts")
    if not folder.is_dir():
        raise LabError("The lab has not been built yet, so there are no charts: run `lab up` first.")
    return folder


def mesh_fixups(paths: Paths) -> None:
    """Give the lab's plain Envoy what it needs as sidecar and waypoint of the Istio that a role has installed."""
    kubectl(paths, "apply", "--server-side", "-f", str(CHECKOUT_LAB / "mesh"))


def kubectl_command(paths: Paths) -> list[str]:
    """kubectl of the running lab, which may be older than the checkout, with the lab's kubeconfig."""
    if not paths.parts.exists():
        raise LabError("The lab is down, so there is no cluster to talk to: run `lab up` first.")
    key = json.loads(paths.parts.read_text())["labkube"]
    return [str(paths.build / f"labkube-{key}" / "labkube"), "kubectl", f"--kubeconfig={paths.kubeconfig}"]


def kubectl(paths: Paths, *arguments: str, stdin: str | None = None) -> str:
    """Run kubectl and return what it printed; LabError when it fails."""
    command = [*kubectl_command(paths), *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"kubectl {' '.join(arguments[:3])} failed: {done.stderr.strip()}; see the logs in {paths.log}.")
    return done.stdout


def enter_command(paths: Paths, where: str, command: Sequence[str]) -> list[str]:
    """What runs ``command`` inside the lab: ``where`` is node, or a network namespace of the outside world."""
    pid = lab_pid(paths)
    told = status(paths)
    if pid is None or "phase" not in told:
        raise LabError(f"The lab is {told['state']}, so nothing can run inside it: run `lab up` first.")
    root = children(pid)
    argv = ["nsenter", f"--target={root[0]}", "--mount", "--pid", "--ipc", "--uts", "--"]
    if where == "node":
        if told["node_pid"] is None:
            raise LabError("The node is not running: run `lab restart-node`.")
        return [*argv, "nsenter", f"--target={told['node_pid']}", "--mount", "--pid", "--uts", "--net", "--", *command]
    if where == plan.NS_TAILNET:  # this computer has an /etc of its own
        laptop = told["services"].get(tailnet.HOST_SERVICE, {}).get("pid")
        if laptop is None:
            raise LabError(f"The computer in the tailnet is off: run `lab start {tailnet.HOST_SERVICE}`.")
        return [*argv, "nsenter", f"--target={laptop}", "--mount", "--net", "--", *command]
    return [*argv, "nsenter", f"--net=/run/netns/{where}", "--", *command]
