# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""The probe: runs inside a pod, from memory, with the Python of the agent's image. Standard library only.

The files of this package are sent through an exec's standard input together with the agent's source, so that client
pods, gateways and twins are tried by the same code, whatever is mounted there. They answer with one line of JSON::

    {"facts": {"agent": ..., "netns": ..., "tools": {...}, ...},      {"error": text} in place of what failed
     "steps": {"pod-dev-bind": {"attempts": [...], "delta": 3, "started": ..., "ended": ..., "seconds": ...}}}

Nothing is changed in the pod. Attempts of one step run at the same time, one child process for each user; steps run
one after the other, because the drop counters are read before and after each.

``start`` comes first and makes the rest importable: ``answer`` puts together what ``facts`` and ``steps`` find out,
``attempts`` makes single attempts, ``pages`` those at web pages, ``place`` says where the pod's agent is.
"""

from __future__ import annotations

# First program of the exec: everything else comes as one line of standard input.
BOOT = (
    "import json,sys\n"
    "r=json.loads(sys.stdin.readline())\n"
    "exec(compile(r['code'],'bulkhead_remote','exec'),{'__name__':'bulkhead_remote','REQUEST':r})"
)
