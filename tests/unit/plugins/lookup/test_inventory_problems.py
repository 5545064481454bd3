# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the lookup reads variables: templates, vaults, names; what is judged is tested with the table."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import EncryptedString, VaultLib, VaultSecret, VaultSecretsContext
from ansible.template import Templar, trust_as_template

from ansible_collections.bulkhead.mesh.plugins.lookup.inventory_problems import LookupModule

SECRET = ("default", VaultSecret(b"correct horse"))


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The secrets of one run of Ansible, as its command line sets them."""
    monkeypatch.setattr(VaultSecretsContext, "_current", None)
    VaultSecretsContext.initialize(VaultSecretsContext([SECRET]))


def judged(variables: dict[str, Any], *playbooks: str) -> list[str]:
    loader = DataLoader()
    lookup = LookupModule(loader=loader, templar=Templar(loader=loader, variables=variables))
    return lookup.run(list(playbooks) or ["site"], variables)


def encrypted(text: str) -> Any:
    return EncryptedString(ciphertext=VaultLib([SECRET]).encrypt(text, SECRET[1]).decode())


def test_templates_are_worked_out() -> None:
    variables = {"home": "arr", "bulkhead_namespaces": [{"name": trust_as_template("{{ home }}"), "mesh": "both"}]}
    (found,) = judged(variables)
    assert found.startswith('bulkhead_namespaces entry arr: bulkhead_namespaces[0].mesh is "both"')


def test_a_template_that_cannot_be_worked_out_is_one_sentence_and_the_rest_is_judged() -> None:
    variables = {"bulkhead_vpn_dns": trust_as_template("{{ nowhere }}"), "bulkhead_probe": "perhaps"}
    assert judged(variables) == [
        "bulkhead_vpn_dns cannot be worked out: 'nowhere' is undefined; correct its template.",
        'bulkhead_probe is "perhaps": a truth value is needed; write true or false.',
    ]


def test_what_no_playbook_reads_is_not_worked_out() -> None:
    (found,) = judged({"bulkhead_vpn_client": trust_as_template("{{ nowhere }}")})
    assert found.startswith("bulkhead_vpn_client: no such variable exists; write bulkhead_vpn_clients, ")


def test_other_variables_are_left_alone() -> None:
    assert judged({"lab_charts": trust_as_template("{{ nowhere }}"), "my_bulkhead_vpn": 1}) == []


def test_what_comes_from_a_vault_is_never_shown() -> None:
    variables = {
        "bulkhead_probe": encrypted("hunter2"),
        "bulkhead_vpn_dns": [encrypted("hunter2")],
        "bulkhead_namespaces": [{"name": encrypted("hunter2/core")}],
        "key": encrypted("hunter2"),
        "bulkhead_verify_require": trust_as_template("{{ key }}"),
    }
    found = judged(variables, "verify")
    assert len(found) == 4
    assert all("hunter2" not in one and "(hidden)" in one for one in found)


@pytest.mark.parametrize("playbooks", [["sight"], ["site", "verify"]])
def test_the_playbook_is_one_that_exists(playbooks: list[str]) -> None:
    with pytest.raises(AnsibleError, match="use one of site, verify, status, teardown"):
        judged({}, *playbooks)
