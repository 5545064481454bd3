"""The parts of a tailnet: Tailscale's operator and proxy, and a control server of the lab's own. The chart is with the others."""

from __future__ import annotations

from . import plan
from .build import Recipe
from .makers import files_image, go_programs
from .recipes_mesh import GO_TAILNET, TAILSCALE

STAMP = f"-X {TAILSCALE}/version.shortStamp={plan.TAILSCALE_VERSION} -X {TAILSCALE}/version.longStamp={plan.TAILSCALE_VERSION}"
# What a proxy in Kubernetes and a computer in the lab never use, and what would talk to somebody on the internet.
OMITTED = (
    "ace appconnectors aws bird captiveportal capture clientupdate cloud colorable completion completion_scripts conn25 dbus "
    "debugportmapper desktop_sessions doctor drive identityfederation linkspeed logtail networkmanager portlist portmapper "
    "posture qrcodes relayserver resolved sdnotify ssh synology syspolicy systray taildrop tap tpm tundevstats wakeonlan "
    "webbrowser webclient"
).split()
# As upstream's images are built; the command line comes inside the daemon, which then is both.
TAGS = ("ts_kube", "ts_package_container", "ts_include_cli", *(f"ts_omit_{one}" for one in OMITTED))


def recipes() -> list[Recipe]:
    """All parts in build order."""
    common = {"module": GO_TAILNET, "ldflags": STAMP, "tags": TAGS}
    return [
        go_programs(
            "tailnet",
            ["./cmd/labtailnet", f"{TAILSCALE}/cmd/tailscaled"],
            150,
            sources=("cmd/labtailnet", "internal"),
            **common,
        ),
        go_programs("tailscale", [f"{TAILSCALE}/cmd/containerboot", f"{TAILSCALE}/cmd/k8s-operator"], 300, **common),
        *images(),
    ]


def images() -> list[Recipe]:
    """The images that the chart asks for, under the lab's own hub."""
    local = "/usr/local/bin"
    return [
        files_image(
            "tailscale-operator",
            plan.tailscale_image("k8s-operator"),
            [("tailscale", "k8s-operator", f"{local}/operator")],
        ),
        files_image(
            "tailscale-proxy",
            plan.tailscale_image("tailscale"),
            [
                ("tailscale", "containerboot", f"{local}/containerboot"),
                ("tailnet", "tailscaled", f"{local}/tailscaled"),
                ("tailnet", "tailscaled", f"{local}/tailscale"),
            ],
            base="mesh-base",
        ),
    ]
