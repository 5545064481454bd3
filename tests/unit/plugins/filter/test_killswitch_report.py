# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.bulkhead.mesh.plugins.filter.killswitch_report import killswitch_report

RESULT: dict[str, Any] = {"verdict": "unknown", "acceptable": False, "require": "x", "checks": []}


@pytest.mark.parametrize("subjects", [{"clients": []}, {"vantages": [], "paths": []}])
def test_results_of_both_modules(subjects: Any) -> None:
    assert "Verdict unknown" in killswitch_report({**RESULT, **subjects})


@pytest.mark.parametrize("result", [RESULT, {"vantages": []}, [], None])
def test_anything_else_is_refused(result: Any) -> None:
    with pytest.raises(AnsibleFilterError, match="path_check returns: pass the registered result"):
        killswitch_report(result)


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="no format 'pdf'"):
        killswitch_report({**RESULT, "clients": []}, "pdf")
