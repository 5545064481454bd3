"""Every NetworkPolicy case, by real connections between pods of the lab."""

from __future__ import annotations

import pytest
from netpol_cases import Case, CaseFile
from netpol_cluster import Lab

CASES = CaseFile.load().cases


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(netpol_lab: Lab, case: Case) -> None:
    assert netpol_lab.run(case) == [], case.shows


def test_the_table_is_large_enough() -> None:
    assert len(CASES) >= 44
    assert len({case.name for case in CASES}) == len(CASES)


def test_a_dead_enforcer_fails_every_case(netpol_lab: Lab) -> None:
    netpol_lab.netpol("mode", "off")
    try:
        passed = [case.name for case in CASES[::10] if not netpol_lab.run(case)]
    finally:
        netpol_lab.netpol("mode", "on")
    assert passed == [], "these cases hold without an enforcer"
