"""Whatever may be left out of a setting may be left out: one key at a time, all, and the setting itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).with_name("absent_keys.py")


def test_every_key_may_be_absent(installed: Path, tmp_path: Path) -> None:
    playbooks = installed / "ansible_collections" / "bulkhead" / "mesh" / "playbooks"
    env = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHON"))}
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(installed), str(playbooks)],
        env={**env, "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["wrong"] == []
    assert told["tried"] > 500
    # It found what there is to leave out.
    assert {"values", "chart", "version"} <= set(told["site.yml"]["bulkhead_metallb"])
    assert {"values", "oauth_secret", "tags"} <= set(told["site.yml"]["bulkhead_tailscale"])
    assert "namespace" in told["teardown.yml"]["bulkhead_tailscale"]
