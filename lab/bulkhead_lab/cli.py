"""The lab's command line."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from . import audit, capture, demo, demo_mesh, demo_tailnet, lifecycle, plan
from .client import lab_call
from .errors import LabError
from .paths import Paths
from .progress import human


def _print(value: Any) -> None:
    print(json.dumps(value, indent=1, sort_keys=True))


def _up(paths: Paths, _: argparse.Namespace) -> int:
    start = time.monotonic()
    lifecycle.up(paths)
    print(f"lab is up after {human(time.monotonic() - start)}; KUBECONFIG={paths.kubeconfig}")
    return 0


def _down(paths: Paths, _: argparse.Namespace) -> int:
    lifecycle.down(paths)
    print("lab is down")
    return 0


def _status(paths: Paths, options: argparse.Namespace) -> int:
    told = lifecycle.status(paths)
    if options.json:
        _print(told)
    else:
        print(f"lab: {told['state']}" + (f" ({told['phase']})" if "phase" in told else ""))
        services = {**told.get("services", {}), **told.get("node", {}).get("services", {})}
        for name, service in services.items():
            print(f"  {name:26} {service['state']:11} starts: {service['starts']}")
    return 0 if told["state"] in ("up", "down") else 1


def _ask(command: str) -> Callable[[Paths, argparse.Namespace], int]:
    """A subcommand that only passes its arguments on to the running lab and prints the answer."""

    def run(paths: Paths, options: argparse.Namespace) -> int:
        arguments = {key: value for key, value in vars(options).items() if key not in ("run", "subcommand")}
        answer = lab_call(paths, command, **arguments)
        if answer is not None:
            _print(answer)
        return 0

    return run


def _capture(paths: Paths, options: argparse.Namespace) -> int:
    if options.since:
        with open(options.since, encoding="utf-8") as handle:
            before = json.load(handle)
    else:
        before = lab_call(paths, "capture")
        if options.window is None:
            _print(before)
            return 0
        time.sleep(options.window)
    _print(capture.difference(before, lab_call(paths, "capture")))
    return 0


def _audit(paths: Paths, options: argparse.Namespace) -> int:
    log = paths.state / "audit.log"
    if options.mark:
        print(audit.mark(log))
    else:
        window = list(audit.events(log, options.since))
        _print({"writes": audit.count_writes(window), "requests": audit.count_requests(window)})
    return 0


def _exec(paths: Paths, options: argparse.Namespace) -> int:
    command = lifecycle.enter_command(paths, options.where, options.command)
    environment = {"PATH": "/opt/lab/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
    environment["TERM"] = os.environ.get("TERM", "dumb")
    environment["PYTHONPATH"] = "/opt/lab/py"
    os.execvpe(command[0], command, environment)


def _kubectl(paths: Paths, options: argparse.Namespace) -> int:
    command = [*lifecycle.kubectl_command(paths), *options.command]
    os.execv(command[0], command)


def _kubeconfig(paths: Paths, _: argparse.Namespace) -> int:
    print(paths.kubeconfig)
    return 0


def _charts(paths: Paths, _: argparse.Namespace) -> int:
    print(lifecycle.charts(paths))
    return 0


def _programs(paths: Paths, _: argparse.Namespace) -> int:
    print(lifecycle.part_folder(paths, "clients"))
    return 0


def _mesh_fixups(paths: Paths, _: argparse.Namespace) -> int:
    lifecycle.mesh_fixups(paths)
    return 0


def _demo(paths: Paths, options: argparse.Namespace) -> int:
    if options.part == "leaks":
        demo.leaks(paths, options.seconds)
    else:
        parts = {
            "prepare": demo.prepare,
            "picture": demo.picture,
            "gateways": demo_mesh.gateways,
            "mesh": demo_mesh.mesh,
            "tailnet": demo_tailnet.tailnet,
        }
        parts[options.part](paths)
    return 0


def parser() -> argparse.ArgumentParser:
    """All subcommands."""
    top = argparse.ArgumentParser(
        prog="lab", description="A real Kubernetes and the world outside it, on this machine."
    )
    commands = top.add_subparsers(dest="subcommand", required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[Paths, argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        return command

    add("up", _up, "Build what is missing, start, wait until the node is Ready.")
    add("down", _down, "Stop and remove everything but builds.")
    add("status", _status, "What runs.").add_argument("--json", action="store_true", help="as JSON")
    add("kubeconfig", _kubeconfig, "Print the path of the administrator's kubeconfig.")
    add("charts", _charts, "Print the folder of Helm charts and manifests for the roles.")
    add("programs", _programs, "Print the folder where helm and istioctl lie once they are built, for PATH.")
    add("mesh-fixups", _mesh_fixups, "Once Istio is installed: what a plain Envoy needs as sidecar and waypoint.")
    add("restart-node", _ask("restart-node"), "Power-cycle the node; its disk stays.")
    add("images", _ask("import-images"), "Import image archives that are new since the start.")
    add("tracker", _ask("tracker"), "Peers that the BitTorrent tracker knows.")
    add("seeder", _ask("seeder"), "Peers that the seeding peer sees.")
    for name, text in (("start", "Start a stopped program."), ("stop", "Stop a program and keep it stopped.")):
        add(name, _ask(name), text).add_argument("name", help="as `lab status` lists it")
    seen = add("tailnet", _ask("tailnet"), "What the tailnet's control server knows.")
    seen.add_argument("what", choices=("nodes", "keys"), help="devices; auth keys that were asked for, with their tags")
    proxy = add("proxy-arp", _ask("proxy-arp"), "Answer ARP for every address on the pods' links, or not.")
    proxy.add_argument("value", choices=("on", "off"))
    shot = add("capture", _capture, "Packets that left the node by its uplink: a snapshot, or what a window saw.")
    window = shot.add_mutually_exclusive_group()
    window.add_argument("--window", type=float, metavar="SECONDS", help="count for so long")
    window.add_argument("--since", metavar="FILE", help="count since the snapshot in FILE")
    log = add("audit", _audit, "Requests to the API by client, from its audit log.")
    log.add_argument("--mark", action="store_true", help="print where the log ends now")
    log.add_argument("--since", type=int, default=0, metavar="MARK", help="count only what came after this mark")
    inside = add("exec", _exec, "Run a command in a network namespace of the outside world.")
    inside.add_argument(
        "where",
        choices=(
            plan.NS_INTERNET,
            plan.NS_LAN,
            plan.NS_TARGET,
            plan.NS_CONTROL,
            plan.NS_TAILNET,
            *(s.namespace for s in plan.VPN_SERVERS),
        ),
    )
    inside.add_argument("command", nargs=argparse.REMAINDER)
    node = add("node-exec", _exec, "Run a command on the node.")
    node.set_defaults(where="node")
    node.add_argument("command", nargs=argparse.REMAINDER)
    story = add("demo", _demo, "A user's download client on the running lab, and what the outside sees of it.")
    parts = ("prepare", "picture", "leaks", "gateways", "mesh", "tailnet")
    story.add_argument(
        "part",
        choices=parts,
        help="apply the user's own things; download and look; try to get past the VPN; ask the gateways from the home "
        "network; talk inside the mesh; ask the gateways from the tailnet",
    )
    story.add_argument("--seconds", type=float, default=60.0, help="how long leaks are tried")
    add("kubectl", _kubectl, "Run kubectl as the administrator.").add_argument("command", nargs=argparse.REMAINDER)
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run one command; a LabError is one sentence on stderr and exit code 1."""
    options = parser().parse_args(arguments)
    if getattr(options, "command", None) and options.command[0] == "--":
        options.command = options.command[1:]
    try:
        return int(options.run(Paths.from_environment(), options))
    except LabError as exc:
        print(f"lab: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
