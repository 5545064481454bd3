"""The suites: what each one runs, in the order of ``make test``: quick ones first, the lab last."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from bulkhead_dev import artifact, demo, interpreters, sources, workspace
from bulkhead_dev.context import Context
from bulkhead_dev.errors import ToolError, Unavailable


class Lane(Enum):
    """Suites of one lane run one after the other, those of different lanes side by side."""

    NO_LAB = auto()
    LAB = auto()
    SECOND_LAB = auto()


@dataclass(frozen=True)
class Suite:
    """One line of the final table.

    ``live``: shows its output as it comes. ``alone``: wants a machine that does nothing else. ``timeout`` is in seconds
    per command.
    """

    name: str
    title: str
    run: Callable[[Context], None]
    live: bool = False
    lane: Lane = Lane.LAB
    alone: bool = False
    timeout: float = 1800.0


# What took longer than ten seconds, in the suite's log.
DURATIONS = ("--durations=20", "--durations-min=10")


def _pytest(ctx: Context, *words: str, env: dict[str, str]) -> None:
    slow = [] if ctx.everything else ["-m", "not slow"]
    ctx.run([ctx.program("python"), "-m", "pytest", "-q", *DURATIONS, *slow, *words], cwd=ctx.places.checkout, env=env)


def _checkout_env(ctx: Context) -> dict[str, str]:
    """For pytest in the checkout: pyproject.toml finds our code, kubernetes.core is added."""
    return ctx.tool_env({"PYTHONPATH": str(ctx.kubernetes_core), "BULKHEAD_GO": ctx.go})


def unit(ctx: Context) -> None:
    """Unit tests of everything in Python, with plain pytest in the checkout."""
    folders = [name for name in ("tests/unit", "dev/tests") if (ctx.places.checkout / name).is_dir()]
    _pytest(ctx, *folders, env=_checkout_env(ctx))


def lint(ctx: Context) -> None:
    """Python, shell and YAML style over all files of the checkout."""
    ctx.packages("lint")
    names = workspace.tracked(ctx.places.checkout)
    commands = [
        [ctx.program("ruff"), "check", "--output-format", "concise", "."],
        [ctx.program("ruff"), "format", "--check", "--output-format", "concise", "."],
    ]
    scripts = sources.shell_scripts(ctx.places.checkout, names)
    if scripts:
        commands.append(["shellcheck", *scripts])
    commands.append([ctx.program("yamllint"), "--strict", *sources.yaml_files(names)])
    ctx.run_all(commands, cwd=ctx.places.checkout, env=ctx.tool_env())


def ansible_lint(ctx: Context) -> None:
    """ansible-lint's production profile; needs the layout, hence the workspace."""
    ctx.run([ctx.program("ansible-lint"), "--offline"], cwd=ctx.collection, env=ctx.tool_env())


def changelog(ctx: Context) -> None:
    """Changelog fragments."""
    ctx.run([ctx.program("antsibull-changelog"), "lint"], cwd=ctx.collection, env=ctx.tool_env())


def docs(ctx: Context) -> None:
    """Documentation of plugins and roles."""
    words = ["lint-collection-docs", "--plugin-docs", "--validate-collection-refs", "self", "--check-extra-docs-refs"]
    ctx.run([ctx.program("antsibull-docs"), *words, "."], cwd=ctx.collection, env=ctx.tool_env())


def go_lint(ctx: Context) -> None:
    """gofmt and go vet."""
    modules = sources.go_modules(ctx.places.checkout)
    gofmt = str(Path(ctx.go).parent / "gofmt")
    folders = [module / package for module in modules for package in sources.go_packages(module)]
    listing = "\n".join(sources.badly_formatted(gofmt, folders))
    if listing:
        raise ToolError(f"gofmt wants to change these files (gofmt -w FILE):\n{listing}")
    for module in modules:
        ctx.run([ctx.go, "vet", *sources.light(sources.go_packages(module))], cwd=module, env=ctx.go_env())


def go_unit(ctx: Context) -> None:
    """Go unit tests of the lab."""
    modules = sources.go_modules(ctx.places.checkout)
    tested = {module: sources.with_tests(module, sources.go_packages(module)) for module in modules}
    if not any(tested.values()):
        raise Unavailable("no Go package has tests")
    for module, packages in tested.items():
        if packages:
            ctx.run([ctx.go, "test", *packages], cwd=module, env=ctx.go_env())


def sanity(ctx: Context) -> None:
    """ansible-test sanity; with everything, on each Python that is found."""
    env, words = ctx.tool_env(), ["--python", ctx.python_version]
    if ctx.everything:
        words = []
        others = interpreters.all_pythons(ctx.places)
        env["PATH"] = ":".join([env["PATH"], *(str(Path(python).parent) for python in others)])
    ctx.run([ctx.program("ansible-test"), "sanity", "--color", "no", *words], cwd=ctx.collection, env=env)


def ansible_units(ctx: Context) -> None:
    """The collection's unit tests again, the way ansible-test runs them."""
    words = ["units", "--color", "no", "--python", ctx.python_version]
    ctx.run([ctx.program("ansible-test"), *words], cwd=ctx.collection, env=ctx.tool_env())


def build(ctx: Context) -> None:
    """Build the tarball from the whole checkout, look into it, install it into an empty path."""
    folder = ctx.places.checkout / "build" / "install"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    galaxy, env = ctx.program("ansible-galaxy"), ctx.tool_env({"ANSIBLE_COLLECTIONS_PATH": str(folder / "path")})
    with tempfile.TemporaryDirectory(dir=ctx.places.cache) as name:
        export = Path(name) / "export"
        workspace.synchronise(ctx.places.checkout, export, workspace.tracked(ctx.places.checkout))
        ctx.run([galaxy, "collection", "build", "--output-path", str(folder)], cwd=export, env=env)
    ours = next(folder.glob("bulkhead-mesh-*.tar.gz"))
    artifact.check_tarball(ours)
    dependency = folder / "kubernetes-core.tar.gz"
    artifact.repack(ctx.kubernetes_core / "ansible_collections" / "kubernetes" / "core", dependency)
    for tarball in (dependency, ours):
        install = [galaxy, "collection", "install", "--no-deps", "--offline", str(tarball), "-p", str(folder / "path")]
        ctx.run(install, cwd=folder, env=env)
    ctx.run([ctx.program("ansible-playbook"), "--syntax-check", "bulkhead.mesh.site"], cwd=folder, env=env)


def netns(ctx: Context) -> None:
    """The agent in real network namespaces, without a cluster."""
    ctx.lab.check_possible()
    ctx.packages("netns")
    _pytest(ctx, "tests/netns", env=_checkout_env(ctx))


def browser(ctx: Context) -> None:
    """The status page in a real browser, on a phone and on a desk; its pictures go to build/browser."""
    ctx.packages("browser")
    _pytest(ctx, "tests/browser", env=_checkout_env(ctx))


def lab_up(ctx: Context) -> None:
    """Bring the lab up; the first time this builds it."""
    ctx.need_lab()


def lab_fresh(ctx: Context) -> None:
    """A lab with nothing on it: what a demo or an earlier run left would be judged along with the tests."""
    if ctx.lab.is_up():
        lab_down(ctx)
    ctx.need_lab()


def lab_down(ctx: Context) -> None:
    """Take the lab down again."""
    ctx.lab.check_possible()
    ctx.run(ctx.lab.argv("down"), cwd=ctx.places.checkout, env=ctx.lab.environment({}))


def _cluster_env(ctx: Context) -> dict[str, str]:
    """For tools that talk to the lab's cluster."""
    env = ctx.tool_env(
        {"KUBECONFIG": ctx.lab.kubeconfig(), "K8S_AUTH_KUBECONFIG": ctx.lab.kubeconfig(), "BULKHEAD_GO": ctx.go}
    )
    return {**env, **ctx.lab.variables(), "PATH": ctx.lab.path(env["PATH"])}


def _playbook_env(ctx: Context) -> dict[str, str]:
    """For playbooks of the checkout that are run on the lab's cluster."""
    paths = f"{ctx.places.checkout / '.workspace'}:{ctx.kubernetes_core}"
    return {**_cluster_env(ctx), "ANSIBLE_COLLECTIONS_PATH": paths, "PYTHONPATH": str(ctx.kubernetes_core)}


def integration(ctx: Context) -> None:
    """Each module against the lab's API server."""
    ctx.need_lab()
    # ansible-test passes almost no environment on; this file is its one way in.
    settings = ctx.collection / "tests" / "integration" / "integration_config.yml"
    settings.parent.mkdir(parents=True, exist_ok=True)
    told = {"kubeconfig": ctx.lab.kubeconfig()}
    if ctx.everything:  # the mesh suite installs and removes Istio too
        told["lab_charts"] = ctx.lab.charts()
    settings.write_text(json.dumps(told) + "\n", encoding="utf-8")
    # Another image for agents, which has to run: a run proves an image before it uses it.
    tag = ("ctr", "-n", "k8s.io", "images", "tag", "--force", "lab.local/toolbox:1", "lab.local/other:1")
    ctx.run(ctx.lab.argv("node-exec", "--", *tag), cwd=ctx.places.checkout, env=ctx.lab.environment({}))
    words = ["integration", "--color", "no", "--python", ctx.python_version]
    ctx.run([ctx.program("ansible-test"), *words], cwd=ctx.collection, env=_cluster_env(ctx))


def molecule(ctx: Context) -> None:
    """All molecule scenarios on the lab; `kind` is for users' CI and needs a container engine."""
    ctx.need_lab()
    env = _cluster_env(ctx)
    # molecule remembers what it has created; in a home of its own that memory starts empty each time.
    home = ctx.places.workspace / "molecule-home"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    base = ["--base-config", str(ctx.collection / "molecule" / "base.yml")]
    ctx.run(
        [ctx.program("molecule"), *base, "test", "--all", "--exclude", "kind"],
        cwd=ctx.collection,
        env={**env, "HOME": str(home)},
    )


def stranger(ctx: Context) -> None:
    """Somebody who has the installed tarball, the documentation and the lab's kubeconfig, and no configuration at all."""
    folder = ctx.places.checkout / "build" / "install" / "path"
    if not folder.is_dir():
        build(ctx)
    ctx.need_lab()
    _pytest(ctx, "tests/stranger", env={**_playbook_env(ctx), "BULKHEAD_INSTALLED": str(folder)})


LIFECYCLE = "tests/lab/test_lifecycle.py"


def lab_tests(ctx: Context) -> None:
    """The lab's own suites that use a running lab: policy table, capture."""
    ctx.need_lab()
    env = {**_checkout_env(ctx), "KUBECONFIG": ctx.lab.kubeconfig()}
    _pytest(ctx, "tests/lab", f"--ignore={LIFECYCLE}", env=env)


def _on_lab(folder: str) -> Callable[[Context], None]:
    """Tests that run playbooks of the checkout on the lab."""

    def run(ctx: Context) -> None:
        ctx.need_lab()
        _pytest(ctx, folder, env=_playbook_env(ctx))

    return run


def benchmarks(ctx: Context) -> None:
    """Ratios, side by side in one run: object_set, what VPN egress costs, and many clients that start at once."""
    ctx.need_lab()
    folder = ctx.places.checkout / "tests" / "benchmarks"
    commands = [[ctx.program("python"), str(folder / name)] for name in ("object_set.py", "vpn.py", "start.py")]
    ctx.run_all(commands, cwd=ctx.places.checkout, env=_playbook_env(ctx))


def lifecycle(ctx: Context) -> None:
    """The lab's life and the machine around it; takes the lab down and up, hence the last one that uses it."""
    ctx.lab.check_possible()
    ctx.packages("lab")
    if not (ctx.places.checkout / LIFECYCLE).is_file():
        raise Unavailable(f"{LIFECYCLE} is not in this checkout")
    ctx.lab_disturbed = True
    _pytest(ctx, LIFECYCLE, env=_checkout_env(ctx))


def tools(ctx: Context) -> None:
    """Bring what all other suites use, so that their times are their own."""
    for folder in (ctx.venv, ctx.kubernetes_core, ctx.home, ctx.collection):
        assert folder
    assert ctx.go
    ctx.packages("lint")


SUITES = (
    Suite("tools", "Python environment, kubernetes.core, Go, workspace", tools),
    Suite("unit", "Unit tests (pytest)", unit, lane=Lane.NO_LAB),
    Suite("lint", "Style: ruff, shellcheck, yamllint", lint, lane=Lane.NO_LAB),
    Suite("ansible-lint", "ansible-lint, production profile", ansible_lint, lane=Lane.NO_LAB),
    Suite("changelog", "Changelog fragments", changelog, lane=Lane.NO_LAB),
    Suite("docs", "Documentation of plugins and roles", docs, lane=Lane.NO_LAB),
    Suite("sanity", "ansible-test sanity", sanity, lane=Lane.NO_LAB),
    Suite("ansible-units", "ansible-test units", ansible_units, lane=Lane.NO_LAB),
    Suite("build", "Build the tarball and install it into an empty path", build),
    Suite("go-lint", "gofmt and go vet", go_lint, lane=Lane.NO_LAB),
    Suite("go-unit", "Go unit tests", go_unit, lane=Lane.NO_LAB),
    Suite("browser", "The status page in a browser", browser, lane=Lane.NO_LAB),
    Suite("netns", "The agent in network namespaces", netns, lane=Lane.NO_LAB),
    Suite("lab-up", "Lab up", lab_up, live=True, timeout=3600.0),
    Suite("lab-fresh", "Lab up, with nothing on it", lab_fresh, live=True, timeout=3600.0),
    Suite("integration", "ansible-test integration", integration),
    Suite("molecule", "molecule test --all", molecule),
    Suite("stranger", "First use of the installed tarball", stranger, timeout=3600.0),
    Suite("lab-tests", "The lab's own suites", lab_tests, timeout=3600.0),
    Suite("faults", "Faults on the VPN path", _on_lab("tests/faults"), lane=Lane.SECOND_LAB, timeout=3600.0),
    Suite(
        "runs", "Whole runs: writes, leftovers, secrets", _on_lab("tests/runs"), lane=Lane.SECOND_LAB, timeout=3600.0
    ),
    Suite(
        "mesh", "Mesh, gateways and VPN beside each other", _on_lab("tests/mesh"), lane=Lane.SECOND_LAB, timeout=3600.0
    ),
    Suite("mutations", "What verify must notice, broken on purpose", _on_lab("tests/mutations"), timeout=3600.0),
    Suite("benchmarks", "Benchmarks: ratios side by side", benchmarks, live=True, alone=True),
    Suite("lifecycle", "The lab's life, and the machine as it was before", lifecycle, alone=True, timeout=3600.0),
    Suite("lab-down", "Lab down", lab_down, live=True),
)
DEMO = Suite("demo", "Demo", demo.run, live=True, timeout=3600.0)
GROUPS = {
    "lint": ("lint", "ansible-lint", "changelog", "docs", "go-lint"),
    "unit": ("unit", "ansible-units", "go-unit"),
    "static": tuple(suite.name for suite in SUITES[:13]),
    "test": tuple(suite.name for suite in SUITES if suite.name not in ("lab-up", "benchmarks")),
}


def select(words: list[str]) -> list[Suite]:
    """The suites that ``words`` (names, and groups as @NAME) mean, in the order of SUITES, each once."""
    wanted: set[str] = set()
    known = {suite.name for suite in SUITES}
    for word in words:
        if word.startswith("@") and word[1:] in GROUPS:
            wanted.update(GROUPS[word[1:]])
        elif word in known:
            wanted.add(word)
        else:
            groups = ", ".join(f"@{name}" for name in GROUPS)
            raise ToolError(
                f"There is no suite {word!r}; there are: {', '.join(s.name for s in SUITES)}; groups: {groups}."
            )
    return [suite for suite in SUITES if suite.name in wanted]
