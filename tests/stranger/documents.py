"""What the documentation tells a reader to write and to run: code blocks, and the example inventory with its comments.

A comment of its own before a block says what it is: ``file: NAME`` is written, ``run`` is run, ``not run: WHY`` is neither.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

OURS = "bulkhead_"
FENCE = re.compile(r"^(`{3,})(\w*)\s*$")
MARK = re.compile(r"^<!-- (file|run|not run)(?:: (.+))? -->$")
UNUSED = re.compile(r"^# (bulkhead_\w+:.*)$")  # a variable that the example shows in a comment
EMPTY = re.compile(r"^(bulkhead_\w+:) (?:\{\}|\[\])$")  # one whose content it shows in the comment below
CONTENT = re.compile(r"^#(  \S.*|   +\S.*)$")


@dataclass(frozen=True)
class Block:
    """One code block: where it is, its language and text, and what its mark says."""

    place: str
    language: str
    text: str
    kind: str = ""
    word: str = ""

    @property
    def is_inventory(self) -> bool:
        """Whether a reader takes it into the inventory."""
        return self.language in ("yaml", "yml") and re.search(rf"(?m)^ *{OURS}\w+:", self.text) is not None

    def variables(self) -> dict[str, Any]:
        """Its variables."""
        found = yaml.safe_load(self.text)
        assert isinstance(found, dict) and all(key.startswith(OURS) for key in found), (
            f"{self.place}: not only {OURS} variables: say with a comment before it whether it is a file or is not run"
        )
        return found


def blocks(path: Path) -> list[Block]:
    """All code blocks of a document."""
    lines = path.read_text(encoding="utf-8").splitlines()
    found, kind, word, start = [], "", "", 0
    while start < len(lines):
        fence = FENCE.match(lines[start])
        if fence is None:
            mark = MARK.match(lines[start])
            if lines[start].strip():
                kind, word = (mark[1], mark[2] or "") if mark else ("", "")
            start += 1
            continue
        end = lines.index(fence[1], start + 1)
        text = "\n".join(lines[start + 1 : end]) + "\n"
        found.append(Block(f"{path.name}:{start + 1}", fence[2], text, kind, word))
        kind, word, start = "", "", end + 1
    return found


def documents(root: Path) -> list[Path]:
    """What a reader reads."""
    return [root / "README.md", *sorted((root / "docs").glob("*.md"))]


def together(given: Iterable[Block]) -> list[tuple[str, dict[str, Any]]]:
    """Inventories, as few as it takes for no two blocks of one to say the same variable; each with its places."""
    made: list[tuple[list[str], dict[str, Any]]] = []
    for block in given:
        variables = block.variables()
        free = [one for one in made if not one[1].keys() & variables.keys()]
        if not free:
            made.append(([], {}))
        places, have = (free or made[-1:])[0]
        places.append(block.place)
        have.update(variables)
    return [(" ".join(places), have) for places, have in made]


def uncommented(text: str) -> str:
    """The example with everything that its comments hold for use."""
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        content = CONTENT.match(line) if inside else None
        unused, empty = UNUSED.match(line), EMPTY.match(line)
        inside = bool(content or empty)
        if content:
            if EMPTY.match(lines[-1]):
                lines[-1] = lines[-1].rsplit(" ", 1)[0]
            lines.append(content[1])
        else:
            lines.append(unused[1] if unused else line)
    return "\n".join(lines) + "\n"


def merged(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """``high`` over ``low``, mapping by mapping."""
    found = dict(low)
    for key, value in high.items():
        old = found.get(key)
        found[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return found
