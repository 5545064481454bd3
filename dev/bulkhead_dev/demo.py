"""The demo: the lab, the playbook on it, and what the outside sees; with what each took."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bulkhead_dev.commands import answer
from bulkhead_dev.context import Context


@dataclass(frozen=True)
class Step:
    """One command of the demo."""

    title: str
    argv: Sequence[str]
    env: Mapping[str, str]


def steps(ctx: Context) -> list[Step]:
    """In the order a user would do it."""
    checkout, lab = ctx.places.checkout, ctx.lab_env()
    views = json.dumps({"bulkhead_status": {"html": str(status_page(checkout))}})
    collections = f"{checkout / '.workspace'}:{ctx.kubernetes_core}"
    tools = ctx.tool_env()
    ansible = {**tools, "PATH": ctx.lab.path(tools["PATH"]), "ANSIBLE_COLLECTIONS_PATH": collections}
    playbook = [ctx.program("ansible-playbook"), "-i", str(checkout / "inventories" / "lab")]
    return [
        Step("lab up", ctx.lab.argv("up"), lab),
        Step("a user's workload", ctx.lab.argv("demo", "prepare"), lab),
        Step("ansible-playbook site.yml", [*playbook, "site.yml"], ansible),
        Step("the gateways, from the home network", ctx.lab.argv("demo", "gateways"), lab),
        Step("the gateways, from the tailnet", ctx.lab.argv("demo", "tailnet"), lab),
        Step("calls inside the mesh", ctx.lab.argv("demo", "mesh"), lab),
        Step("the picture", ctx.lab.argv("demo", "picture"), lab),
        Step("attempts to get past it", ctx.lab.argv("demo", "leaks"), lab),
        Step("ansible-playbook playbooks/verify.yml", [*playbook, "playbooks/verify.yml"], ansible),
        Step("ansible-playbook playbooks/status.yml", [*playbook, "playbooks/status.yml", "-e", views], ansible),
    ]


def status_page(checkout: Path) -> Path:
    """Where the demo leaves its picture of the whole."""
    return checkout / "build" / "status.html"


def run(ctx: Context) -> None:
    """All steps, then wall times and disk used."""
    ctx.lab.check_possible()
    ctx.packages("lab")
    start = time.monotonic()
    planned = steps(ctx)
    page = status_page(ctx.places.checkout)
    page.parent.mkdir(exist_ok=True)
    taken = [("tools", time.monotonic() - start)]
    for step in planned:
        print(f"\n--- {step.title}", flush=True)
        start = time.monotonic()
        ctx.run(step.argv, cwd=ctx.places.checkout, env=step.env)
        taken.append((step.title, time.monotonic() - start))
    print("\n" + "\n".join(summary(taken, disk(ctx), page)), flush=True)


def disk(ctx: Context) -> dict[str, int]:
    """Bytes on disk of our cache and of Go's, which the lab is built with."""
    go = answer([ctx.go, "env", "GOCACHE", "GOMODCACHE"]) or ""
    folders = {"our cache": ctx.places.cache, **{f"Go's {Path(line).name}": Path(line) for line in go.splitlines()}}
    return {name: used(folder) for name, folder in folders.items() if folder.is_dir()}


def used(folder: Path) -> int:
    """Bytes that ``du`` counts below ``folder``; it may change meanwhile, which is no error."""
    done = subprocess.run(["du", "-s", "--block-size=1", str(folder)], capture_output=True, text=True, check=False)
    return int(done.stdout.split()[0]) if done.stdout else 0


def summary(taken: Sequence[tuple[str, float]], sizes: Mapping[str, int], page: Path) -> list[str]:
    """The demo's last lines."""
    lines = [f"{title:40} {seconds:7.1f} s" for title, seconds in (*taken, ("in all", sum(s for _, s in taken)))]
    lines += [f"{'disk: ' + name:40} {size / 1e9:7.1f} GB" for name, size in sizes.items()]
    lines.append("The lab stays up: `make lab-status` looks at it, `make lab-down` takes it down.")
    return [*lines, f"Who reaches what, for a browser: {page}"]
