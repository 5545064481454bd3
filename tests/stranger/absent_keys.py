"""Runs as a program: templates what the installed playbooks give to roles, with keys of settings left out one at a time.

A playbook run takes half a minute; this takes seconds for all keys. Prints a JSON object: how much was templated, and what went
wrong.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError, AnsibleValueOmittedError
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template

SETTINGS = re.compile(r"\((bulkhead_\w+) \| default\(\{\}\)\)|\"\{\{ (bulkhead_\w+) \| default\(\{\}\) \}\}\"")
PLAIN = (str, bool, int, float, list, dict, type(None))


def expressions(play: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each variable of the play, its roles and its tasks."""
    parts = [play, *play.get("roles", ()), *play.get("pre_tasks", ()), *play.get("tasks", ())]
    for part in parts:
        yield from part.get("vars", {}).items()


def keys(text: str, variable: str) -> set[str]:
    """Keys of a setting that a playbook asks for, by the variable's own name or that of the play's variable for it."""
    names = [variable, *re.findall(rf"(?m)^ +(\w+): \"\{{\{{ {variable} \| default", text)]
    told: set[str] = set()
    for name in names:
        end = rf"{name}(?: \| default\(\{{\}}\)\))?"
        told |= set(re.findall(rf"{end}\.(?:get\(')?(\w+)", text)) | set(re.findall(rf"{end}\['(\w+)'\]", text))
    return told - {"get"}


def trusted(value: Any) -> Any:
    """The same with its texts as templates."""
    if isinstance(value, str):
        return trust_as_template(value)
    if isinstance(value, list):
        return [trusted(one) for one in value]
    return {key: trusted(one) for key, one in value.items()} if isinstance(value, dict) else value


class Play:
    """One play of an installed playbook."""

    def __init__(self, path: Path) -> None:
        self.text = path.read_text(encoding="utf-8")
        self.loader = DataLoader()
        self.told: dict[str, Any] = {}
        for name, value in expressions(yaml.safe_load(self.text)[0]):
            self.told.setdefault(name, trusted(value))

    def values(self, inventory: Mapping[str, Any]) -> dict[str, Any]:
        """Every variable under this inventory, or the error that it is; a task's results are nowhere and so is what needs them."""
        found = {}
        for name, value in self.told.items():
            templar = Templar(self.loader, variables={**self.told, **inventory})
            try:
                found[name] = templar.template(value)
            except AnsibleValueOmittedError:
                found[name] = None  # left out on purpose
            except AnsibleError as exc:
                found[name] = exc
        return found


def wrong(play: Play, inventory: Mapping[str, Any], possible: set[str]) -> list[str]:
    """Variables that could be templated with everything, and cannot be like this."""
    found = play.values(inventory)
    return [
        f"{name}: {str(found[name]) or repr(found[name])}"
        for name in sorted(possible)
        if not isinstance(found[name], PLAIN)
    ]


def main(collections: str, playbooks: str) -> None:
    """All playbooks."""
    init_plugin_loader([collections])
    told: dict[str, Any] = {"tried": 0, "wrong": []}
    for path in sorted(Path(playbooks).glob("*.yml")):
        play = Play(path)
        settings = sorted({name for pair in SETTINGS.findall(play.text) for name in pair if name})
        full = {name: dict.fromkeys(keys(play.text, name), "given") for name in settings}
        possible = {name for name, value in play.values(full).items() if isinstance(value, PLAIN)}
        cases: dict[str, dict[str, Any]] = {"nothing": {}, "empty": dict.fromkeys(settings, {})}
        for name, given in full.items():
            for key in given:
                cases[f"{name}.{key}"] = {**full, name: {other: given[other] for other in given if other != key}}
        for absent, inventory in cases.items():
            told["tried"] += len(possible)
            told["wrong"] += [f"{path.name} without {absent}: {one}" for one in wrong(play, inventory, possible)]
        told[path.name] = {name: sorted(given) for name, given in full.items()}
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
