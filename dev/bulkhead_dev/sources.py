"""Which files and packages the linters look at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from bulkhead_dev.commands import run
from bulkhead_dev.errors import Unavailable

# Programs that contain all of Kubernetes, CoreDNS or Tailscale: the lab's build compiles them, and vetting
# them would compile them once more (minutes) to look at a handful of lines.
HEAVY = ("./cmd/labkube", "./cmd/coredns", "./cmd/labtailnet")
SHELLS = ("sh", "bash", "dash")


def is_shell(first_line: str) -> bool:
    """Whether a file that starts like this is run by a shell."""
    if not first_line.startswith("#!"):
        return False
    words = first_line[2:].split()
    return any(word.rpartition("/")[2] in SHELLS for word in words[:2])


def shell_scripts(checkout: Path, names: Iterable[str]) -> list[str]:
    """Shell scripts among ``names``: by ending, or by their first line when they have none."""
    found = []
    for name in names:
        path = checkout / name
        if name.endswith(".sh"):
            found.append(name)
        elif "." not in path.name and path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                if is_shell(file.readline(200).decode(errors="replace")):
                    found.append(name)
    return found


def yaml_files(names: Iterable[str]) -> list[str]:
    """YAML files among ``names``."""
    return [name for name in names if name.endswith((".yml", ".yaml")) or name in (".ansible-lint", ".yamllint")]


def go_modules(checkout: Path) -> list[Path]:
    """The lab's Go modules that hold code of ours; others only pin what is built."""
    modules = [path.parent for path in sorted((checkout / "lab").glob("go*/go.mod"))]
    if not modules:
        raise Unavailable("lab/go is not in this checkout")
    return [module for module in modules if go_packages(module)]


def go_packages(module: Path) -> list[str]:
    """Packages of the module as ./relative/paths."""
    folders = {path.parent for top in ("cmd", "internal") for path in (module / top).rglob("*.go")}
    return sorted(f"./{folder.relative_to(module).as_posix()}" for folder in folders)


def light(packages: Sequence[str]) -> list[str]:
    """Packages without the heavy ones."""
    return [package for package in packages if package not in HEAVY]


def with_tests(module: Path, packages: Sequence[str]) -> list[str]:
    """Packages that have test files: `go test` would build the others too."""
    return [package for package in packages if any((module / package).glob("*_test.go"))]


def badly_formatted(gofmt: str, folders: Sequence[Path]) -> list[str]:
    """Files that gofmt would change."""
    files = [str(file) for folder in folders for file in sorted(folder.glob("*.go"))]
    return run([gofmt, "-l", *files], what="gofmt").splitlines() if files else []
