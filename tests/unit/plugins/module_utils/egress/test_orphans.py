# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress import _names, _orphans

KEY = ("StatefulSet", "downloads", "qbittorrent")
LABELLED = {"metadata": {"labels": {_names.CLIENT_LABEL: "downloads.qbittorrent"}}}
REST = {"metadata": {"annotations": {_names.ORIGINAL_ANNOTATION: "{}"}}}


@pytest.mark.parametrize("template", [LABELLED, REST])
def test_an_attached_workload_that_no_list_names_is_told_with_the_remedy(workload: Any, template: Any) -> None:
    (found,) = _orphans.attached([("Deployment", *KEY[1:])], [workload(template=template)])
    assert (found["kind"], found["namespace"], found["name"]) == KEY
    assert found["client"] == "downloads.qbittorrent"
    assert found["msg"].startswith("StatefulSet downloads/qbittorrent is attached to a VPN gateway and ")
    assert "bulkhead_vpn_clients" in found["msg"] and "detach_to open" in found["msg"]


def test_a_listed_one_and_one_that_is_not_attached_are_none(workload: Any) -> None:
    assert _orphans.attached([KEY], [workload(template=LABELLED)]) == []
    assert _orphans.attached([], [workload()]) == []


def test_a_copy_of_an_attached_workload_is_one_although_its_label_names_a_listed_client(workload: Any) -> None:
    copied = workload(template=LABELLED, metadata={"name": "copy"})
    (found,) = _orphans.attached([KEY], [workload(template=LABELLED), copied])
    assert found["name"] == "copy" and found["client"] == "downloads.qbittorrent"
