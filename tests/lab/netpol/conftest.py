"""Fixtures of the NetworkPolicy suites: they need a running lab."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from netpol_cases import CaseFile
from netpol_cluster import Lab


@pytest.fixture(scope="session")
def netpol_lab() -> Iterator[Lab]:
    """The lab with the cast of the cases in it and the enforcer on."""
    lab = Lab(CaseFile.load())
    lab.netpol("mode", "on")
    lab.raise_cast()
    yield lab
    lab.netpol("mode", "on")
    lab.remove_cast()
