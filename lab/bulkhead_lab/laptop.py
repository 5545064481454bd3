"""A computer in the tailnet: ``python3 -m bulkhead_lab.laptop``, in its own network and mount namespace.

tailscaled writes /etc/resolv.conf, so this computer has an /etc of its own. Ends when tailscaled ends.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

from . import net, plan
from .errors import LabError
from .paths import INSIDE_BIN, INSIDE_STATE
from .procs import die_with_parent

ETC = Path("/tmp/laptop-etc")
SOCKET = Path("/run/tailscale/tailscaled.sock")  # where the command line looks for it
JOIN_TIMEOUT = 60.0  # seconds
AUTH_KEY = "tskey-auth-laptop"  # the lab's control server takes any


def folder(state: Path) -> Path:
    """Where tailscaled keeps what it is known by."""
    return state / "tailnet" / "laptop"


def joined(state: Path) -> bool:
    """Whether this computer is in the tailnet."""
    return _sign(state).exists()


def _sign(state: Path) -> Path:
    return folder(state) / "joined"


def own_etc() -> None:
    """A private copy of /etc, whose resolver is the world's."""
    shutil.rmtree(ETC, ignore_errors=True)
    shutil.copytree("/etc", ETC, symlinks=True)
    (ETC / "resolv.conf").unlink(missing_ok=True)
    (ETC / "resolv.conf").write_text(f"nameserver {plan.RESOLVER4}\n")
    net.run(["mount", "--bind", str(ETC), "/etc"])


def tailscale(*words: str) -> list[str]:
    """A command of Tailscale's client for this computer's daemon."""
    return [f"{INSIDE_BIN}/tailscale", f"--socket={SOCKET}", *words]


def serve() -> int:
    """Start, join and wait; the exit code for the supervisor."""
    home = folder(INSIDE_STATE)
    home.mkdir(parents=True, exist_ok=True)
    SOCKET.parent.mkdir(parents=True, exist_ok=True)
    _sign(INSIDE_STATE).unlink(missing_ok=True)
    own_etc()
    daemon = subprocess.Popen(
        [f"{INSIDE_BIN}/tailscaled", f"--statedir={home}", f"--socket={SOCKET}", "--no-logs-no-support"],
        preexec_fn=die_with_parent,
    )
    options = [f"--login-server={plan.LOGIN_SERVER}", f"--hostname={plan.TAILNET_HOSTNAME}", f"--auth-key={AUTH_KEY}"]
    deadline = time.monotonic() + JOIN_TIMEOUT
    while True:
        done = subprocess.run(tailscale("up", "--timeout=10s", *options), capture_output=True, text=True, check=False)
        if done.returncode == 0:
            break
        if daemon.poll() is not None or time.monotonic() > deadline:
            daemon.kill()
            said = " ".join((done.stdout + done.stderr).split())
            raise LabError(f"This computer did not get into the tailnet within {JOIN_TIMEOUT:.0f} s: {said}.")
        time.sleep(0.2)
    _sign(INSIDE_STATE).touch()
    return daemon.wait() or 1  # whatever ended it, this computer is out of the tailnet


def main() -> int:
    """Entry point."""
    try:
        return serve()
    except LabError as exc:
        print(exc, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
