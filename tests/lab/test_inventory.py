"""The lab's inventory finds the lab without asking it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from running_lab import lab

from bulkhead_lab.paths import Paths

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("BULKHEAD_LAB_HOME", "BULKHEAD_CACHE", "XDG_CACHE_HOME")


def told(variable: str, environment: dict[str, str]) -> str:
    """What a variable of the inventory is."""
    words = ["ansible", "-i", "inventories/lab", "localhost", "-m", "ansible.builtin.debug", "-a", f"var={variable}"]
    environment = {**environment, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.partition(f"{variable}: ")[2].strip()


@pytest.mark.parametrize("given", [{}, *({name: f"/tmp/{name}"} for name in NAMES)])
def test_it_is_where_the_lab_is(given: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert told("bulkhead_kubeconfig", dict(os.environ)) == str(Paths.from_environment().kubeconfig)


def test_the_charts_are_those_of_the_lab() -> None:
    found = Path(told("lab_charts", dict(os.environ))).resolve()
    assert found == Path(lab("charts").strip()).resolve() and (found / "istio" / "base").is_dir()
