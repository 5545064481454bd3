# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What playbooks make of the inventory: every variable of every role, whatever key the inventory leaves out.

The expressions are those of the playbooks, worked out by Ansible with the collection's own filters.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Environment, nodes

from ansible_collections.bulkhead.mesh.tests.unit.plugins.plugin_utils import inventories

ROOT = Path(__file__).resolve().parents[3]
PLAYBOOKS = ("site", "verify", "status", "teardown")
METHODS = frozenset(name for name in dir({}) if not name.startswith("_"))


def handed_on(cases: list[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Every variable that playbooks hand to their roles, or the error."""
    words = [sys.executable, str(Path(__file__).with_name("hand_on.py"))]
    done = subprocess.run(words, input=json.dumps(cases), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def rounds() -> list[tuple[inventories.Place, ...]]:
    """Keys that may be absent, in each round one of every variable: what one variable lacks is nothing to another."""
    by_variable: dict[object, list[inventories.Place]] = {}
    for place in inventories.optional(inventories.full()):
        by_variable.setdefault(place[0], []).append(place)
    return [tuple(filter(None, one)) for one in itertools.zip_longest(*by_variable.values())]


def test_all_keys_none_and_each_alone_absent() -> None:
    full = inventories.full()
    cases = {"all": full, "nothing": {}, "least": inventories.least(full)}
    for gone in rounds():
        # What hangs on an absent key is refused before any role is reached.
        kept = [one for one in gone if len(one) == 1 or one[-1] not in inventories.REFERRED]
        cases[", ".join(map(inventories.written, gone))] = inventories.without(full, *kept)
    asked = [(name, what) for what in cases for name in PLAYBOOKS]
    answers = handed_on([(name, cases[what]) for name, what in asked])
    assert [(one, answer["error"]) for one, answer in zip(asked, answers, strict=True) if "error" in answer] == []
    assert len(cases) > 15 and all(one["told"] for one in answers)


def test_a_gateway_without_a_namespace_is_in_its_own() -> None:
    inventory = {"bulkhead_ingress_gateways": [{"name": "arr"}, {"name": "media", "namespace": "films-gateway"}]}
    site, verify = handed_on([("site", inventory), ("verify", inventory)])
    wanted = {"arr": "gateway-arr", "media": "films-gateway"}
    assert site["told"]["vpn_clients_ingress_gateways"] == verify["told"]["verify_ingress_gateways"] == wanted


def test_a_namespace_keeps_its_labels_when_its_protected_workload_leaves_the_inventory() -> None:
    labels = {"downloads": {"pod-security.kubernetes.io/enforce": "privileged"}}
    client = {"namespace": "downloads", "client": "downloads.qbittorrent"}
    vpn = {"clients": [client], "gateways": ["vpn"], "labels": labels}
    inventory = {"bulkhead_namespaces": [{"name": "core"}]}
    kept, unknown, nothing = handed_on([("site", inventory, vpn), ("site", inventory, "unknown"), ("site", inventory)])
    assert kept["told"]["namespaces_privileged"] == ["downloads"]
    assert kept["told"]["namespaces_kept"] == labels
    for other in (unknown, nothing):
        assert other["told"]["namespaces_privileged"] == [] and other["told"]["namespaces_kept"] == {}


def expressions() -> Iterator[tuple[str, str]]:
    """(place, text) of all texts in playbooks and roles that may hold an expression."""

    def texts(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            for one in value.values():
                yield from texts(one)
        elif isinstance(value, list):
            for one in value:
                yield from texts(one)

    for path in sorted([*ROOT.glob("playbooks/*.yml"), *ROOT.glob("roles/*/*/*.yml")]):
        if path.name != "argument_specs.yml":
            for text in texts(yaml.safe_load(path.read_text(encoding="utf-8"))):
                yield str(path.relative_to(ROOT)), text


def traps(text: str) -> list[str]:
    """Names of methods of a mapping that an expression finds where a key is absent."""
    tree = Environment().parse(text if "{{" in text or "{%" in text else f"{{{{ {text} }}}}")
    called = {id(one.node) for one in tree.find_all(nodes.Call)}
    found = [one.attr for one in tree.find_all(nodes.Getattr) if one.attr in METHODS and id(one) not in called]
    for one in tree.find_all(nodes.Filter):
        inner = one.node
        if one.name in ("default", "d") and isinstance(inner, nodes.Getitem) and isinstance(inner.arg, nodes.Const):
            found += [str(inner.arg.value)] if inner.arg.value in METHODS else []
    return found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{{ x.values | default({}) }}", ["values"]),
        ("{{ x['values'] | default({}) }}", ["values"]),
        ("{{ x['values'] }}", []),
        ("{{ x.get('values') | default({}, true) }}", []),
        ("x.items | length > 0", ["items"]),
        ("{{ x.splitlines() }}", []),
    ],
)
def test_a_trap_is_seen(text: str, found: list[str]) -> None:
    assert traps(text) == found


def test_no_key_is_taken_for_a_method() -> None:
    found = []
    for place, text in expressions():
        try:
            found += [f"{place}: {name} in {text}" for name in traps(text)]
        except Exception:  # noqa: BLE001, S112: a text that is no expression
            continue
    assert found == []


@pytest.mark.parametrize("name", PLAYBOOKS)
def test_a_misspelt_variable_stops_the_run_before_anything(name: str, tmp_path: Path) -> None:
    """With the real program, the variable as an extra one, and no cluster that could be asked."""
    kubernetes = os.environ.get("ANSIBLE_COLLECTIONS_PATH", "")
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": f"{ROOT / '.workspace'}:{kubernetes}",
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
        "K8S_AUTH_KUBECONFIG": str(tmp_path / "none"),
        "HOME": str(tmp_path),
    }
    program = Path(sys.executable).with_name("ansible-playbook")
    words = [
        str(program),
        "-i",
        "localhost,",
        "-c",
        "local",
        f"bulkhead.mesh.{name}",
        "-e",
        '{"bulkhead_vpn_client": []}',
    ]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "bulkhead_vpn_client: no such variable exists; write bulkhead_vpn_clients, " in done.stdout + done.stderr
    assert re.findall(r"TASK \[([^\]]*)\]", done.stdout) == ["Judge the inventory"]
    assert re.search(r"ok=0 +changed=0 .*failed=1", done.stdout)
