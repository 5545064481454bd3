"""What the documentation tells a reader to write and to run: code blocks, and the example inventory with its comments.

A comment of its own before a block says what it is: ``file: NAME`` is written, ``run`` is run, ``with: PAGE, PAGE`` stands on the first
inventory of these pages, ``not run: WHY`` is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

OURS = "bulkhead_"
NAMESPACES = "bulkhead_namespaces"
FENCE = re.compile(r"^(`{3,})(\w*)\s*$")
MARK = re.compile(r"^<!-- (file|run|with|not run)(?:: (.+))? -->$")
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
    def page(self) -> str:
        """The document that it is in."""
        return self.place.partition(":")[0]

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


@dataclass
class Inventory:
    """What blocks make together. ``said`` are the variables that are theirs: a page's further block stands in its first one's place."""

    page: str = ""
    places: list[str] = field(default_factory=list)
    variables: dict[str, Any] = field(default_factory=dict)
    said: set[str] = field(default_factory=set)

    def takes(self, block: Block) -> bool:
        """Whether the block says nothing that another one here says."""
        return not self.said & block.variables().keys()

    def add(self, block: Block) -> None:
        """Take the block in. Namespaces of several pages are those of all of them."""
        told = block.variables()
        have = self.variables.get(NAMESPACES, []) if NAMESPACES in self.said else []
        names = {one["name"] for one in have}
        if have and NAMESPACES in told:
            told[NAMESPACES] = [*have, *(one for one in told[NAMESPACES] if one["name"] not in names)]
        self.places.append(block.place)
        self.variables.update(told)
        self.said |= told.keys()


def together(given: Iterable[Block]) -> list[tuple[str, dict[str, Any]]]:
    """Inventories, as few as it takes, each with the places of its blocks.

    A block that says again what its page has said before is a variation of the page: the rest is the page's first inventory.
    """
    blocks = list(given)
    first = {block.page: block for block in reversed(blocks)}
    made: list[Inventory] = []
    for block in [one for one in blocks if one.kind == "with"]:
        made.append(Inventory())
        for one in [*(first[page] for page in block.word.split(", ")), block]:
            made[-1].add(one)
    for block in [one for one in blocks if one.place not in {place for made_ in made for place in made_.places}]:
        base = first[block.page]
        again = block is not base and bool(base.variables().keys() & block.variables().keys())
        fits = [one for one in made if one.page == (block.page if again else "") and one.takes(block)]
        if not fits:
            fits = [Inventory(block.page, variables=base.variables()) if again else Inventory()]
            made += fits
        fits[0].add(block)
    return [(" ".join(one.places), one.variables) for one in made]


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
