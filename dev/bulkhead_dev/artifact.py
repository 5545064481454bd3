"""What a user installs: checks on the built tarball, and kubernetes.core as a tarball again."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

from bulkhead_dev.errors import ToolError

# Top-level names that the tarball may hold; everything else is for the checkout only.
SHIPPED = frozenset(
    {
        "CHANGELOG.md",
        "CODE_OF_CONDUCT.md",
        "CONTRIBUTING.md",
        "FILES.json",
        "LICENSE",
        "MANIFEST.json",
        "README.md",
        "changelogs",
        "docs",
        "inventories",
        "meta",
        "playbooks",
        "plugins",
        "requirements.txt",
        "roles",
        "site.yml",
    }
)


def unwanted(names: Iterable[str]) -> list[str]:
    """Top-level entries among ``names`` that have no business in the tarball."""
    return sorted({name.removeprefix("./").partition("/")[0] for name in names} - SHIPPED - {""})


def check_tarball(path: Path) -> None:
    """Raise ToolError when the built collection holds what only the checkout needs."""
    with tarfile.open(path) as archive:
        names = archive.getnames()
    extra = unwanted(names)
    if extra:
        raise ToolError(
            f"{path.name} holds {', '.join(extra)}; add it to build_ignore in galaxy.yml, or to SHIPPED in dev."
        )
    compiled = [name for name in names if "__pycache__" in name]
    if compiled:
        raise ToolError(
            f"{path.name} holds compiled files such as {compiled[0]}; add them to build_ignore in galaxy.yml."
        )


def repack(collection: Path, target: Path) -> None:
    """Make an installable tarball from an unpacked collection.

    The bundle leaves out files (tests) that the collection's FILES.json still lists, and
    ansible-galaxy refuses a tarball without them: they are taken off the list.
    """
    files = json.loads((collection / "FILES.json").read_text(encoding="utf-8"))
    manifest = json.loads((collection / "MANIFEST.json").read_text(encoding="utf-8"))
    files["files"] = [entry for entry in files["files"] if (collection / entry["name"]).exists()]
    listing = json.dumps(files, indent=1).encode()
    manifest["file_manifest_file"]["chksum_sha256"] = hashlib.sha256(listing).hexdigest()
    with tarfile.open(target, "w:gz") as archive:
        for name, content in (("MANIFEST.json", json.dumps(manifest, indent=1).encode()), ("FILES.json", listing)):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            archive.addfile(info, BytesIO(content))
        for entry in files["files"]:
            if entry["name"] != ".":
                archive.add(collection / entry["name"], arcname=entry["name"], recursive=False)
