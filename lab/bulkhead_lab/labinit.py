"""The lab's supervisor, below process 1 of the lab: the outside world, then the node, then commands."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

from . import capture, control, pki, plan, tailnet, world
from .errors import LabError
from .nodeinit import CONTROL as NODE_CONTROL
from .nodeinit import NODE_STATE
from .paths import INSIDE_BIN, INSIDE_STATE
from .procs import children, start_time
from .service import Service
from .supervisor import Supervisor

NODE_TIMEOUT = 240.0  # seconds for the node's programs to be up, images imported; 90 seen on a busy machine
NODE = Service(
    "node",
    (
        "unshare",
        "--pid",
        "--mount",
        "--uts",
        "--ipc",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "--propagation",
        "shared",
        "tini",
        "--",
        "/usr/bin/python3",
        "-m",
        "bulkhead_lab.nodeinit",
    ),
    netns=plan.NS_NODE,
)
API_FORWARDER = Service(
    "api-forwarder",
    (
        f"{INSIDE_BIN}/apiforward",
        "-listen",
        f"127.0.0.1:{plan.API_LOOPBACK_PORT}",
        "-netns",
        f"/run/netns/{plan.NS_NODE}",
        "-to",
        f"127.0.0.1:{plan.API_PORT}",
    ),
)


class Lab:
    """Everything that runs, and the commands on it."""

    def __init__(self) -> None:
        self.supervisor = Supervisor(INSIDE_STATE / "log")
        self.phase = "starting the outside world"
        self._node_lock = threading.Lock()

    def start(self) -> None:
        """Bring up everything; the phase tells how far it is, or why it failed."""
        try:
            pki.make(INSIDE_STATE / "pki")
            world.create(INSIDE_STATE)
            self._start_node()
            for service in (*world.services(INSIDE_STATE), API_FORWARDER):
                self.supervisor.start(service)
            server = f"https://127.0.0.1:{plan.API_LOOPBACK_PORT}"
            pki.write_kubeconfig(INSIDE_STATE / "kubeconfig", INSIDE_STATE / "pki", "admin", server)
            self.phase = "starting the node"
            self._wait_for_node()
            self.phase = "ready"
        except Exception as exc:  # a thread's last word must reach `up`
            self.phase = f"failed: {exc}"

    def restart_node(self) -> None:
        """Power-cycle the node: all its processes die at once, its network is made anew, its disk stays."""
        with self._node_lock:
            self.phase = "restarting the node"
            first = self._node_pid()
            self.supervisor.stop("node", signal.SIGKILL)
            while first is not None and start_time(first) is not None:
                time.sleep(0.05)  # process 1 is gone only when all others of its namespace are
            world.detach_node()
            self._start_node()
            self._wait_for_node()
            self.phase = "ready"

    def _start_node(self) -> None:
        NODE_STATE.mkdir(parents=True, exist_ok=True)
        NODE_CONTROL.unlink(missing_ok=True)
        world.attach_node()
        self.supervisor.start(NODE)

    def _wait_for_node(self) -> None:
        deadline = time.monotonic() + NODE_TIMEOUT
        seen = "it does not answer"
        while time.monotonic() < deadline:
            try:
                seen = self.node("status")["phase"]
            except OSError as exc:
                seen = f"it does not answer ({exc.strerror or exc})"
            if seen == "ready":
                return
            if seen.startswith("failed"):
                break
            time.sleep(0.2)
        raise LabError(f"The node did not come up within {NODE_TIMEOUT:.0f} s; last seen: {seen}; see log/node.log.")

    @staticmethod
    def node(command: str, **arguments: Any) -> Any:
        """Pass a command on to the node."""
        return control.call(NODE_CONTROL, command, timeout=60, **arguments)

    def status(self) -> dict[str, Any]:
        """Phase and programs of the lab and, when it answers, of the node."""
        try:
            node = self.node("status")
        except OSError:
            node = {"phase": "down", "services": {}}
        return {"phase": self.phase, "services": self.supervisor.status(), "node": node, "node_pid": self._node_pid()}

    def _node_pid(self) -> int | None:
        """The node's process 1, as process ids count inside the lab."""
        outer = self.supervisor.status().get("node", {}).get("pid")
        inner = children(int(str(outer))) if outer else []
        return inner[0] if inner else None

    def start_service(self, name: str) -> None:
        """Start a stopped program of the outside world or of the node."""
        if name in self.supervisor.status():
            self.supervisor.start(self.supervisor.service(name))
        else:
            self.node("start", name=name)

    def stop_service(self, name: str) -> None:
        """Stop a program of the outside world or of the node, until it is started again."""
        if name in self.supervisor.status():
            self.supervisor.stop(name)
        else:
            self.node("stop", name=name)


def main() -> None:
    """Start everything in the background and answer commands."""
    os.umask(0o022)
    lab = Lab()
    threading.Thread(target=lab.start, daemon=True).start()
    control.serve(
        INSIDE_STATE / "control.sock",
        {
            "status": lab.status,
            "start": lab.start_service,
            "stop": lab.stop_service,
            "restart-node": lab.restart_node,
            "proxy-arp": lambda value: lab.node("proxy-arp", value=value),
            "import-images": lambda: lab.node("import-images"),
            "capture": capture.snapshot,
            "tracker": world.tracker_peers,
            "seeder": world.seeder_peers,
            "tailnet": tailnet.ask,
        },
    )


if __name__ == "__main__":
    main()
