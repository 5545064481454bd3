# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""What runs inside pods: guard, overlay, gateway, engine and probe. Standard library only.

The same files are shipped as a ConfigMap and run there as ``python3 -m bulkhead_agent COMMAND``; on the control host
only the pure parts (this file, ``config``, ``rules``) are imported.
"""

from __future__ import annotations

from collections.abc import Mapping

# Started before anything else of the agent: arguments are the expected hash, then the command and its arguments.
# It must stay free of imports from the agent, because nothing of the agent is trusted before the comparison.
ENTRY = """\
import hashlib, os, sys
d = "/opt/bulkhead/bulkhead_agent"
h = hashlib.sha256()
try:
    for n in sorted(f for f in os.listdir(d) if f.endswith(".py")):
        b = open(os.path.join(d, n), "rb").read()
        h.update(("%s %d\\n" % (n, len(b))).encode() + b)
except OSError as e:
    sys.exit("The agent's files in %s cannot be read (%s); restart the pod." % (d, e.strerror))
if h.hexdigest()[:16] != sys.argv[1]:
    sys.exit("The agent's files in %s do not have hash %s; apply the collection again." % (d, sys.argv[1]))
os.environ.update(PYTHONPATH="/opt/bulkhead", PYTHONDONTWRITEBYTECODE="1", BULKHEAD_AGENT=sys.argv[1])
os.execv(sys.executable, [sys.executable, "-m", "bulkhead_agent"] + sys.argv[2:])
"""


def content_hash(files: Mapping[str, bytes]) -> str:
    """First 16 hex digits of the hash over all files (name -> content); ``ENTRY`` computes the same in the pod."""
    import hashlib  # costs as much as all the rest at start, and only the control host needs it

    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name} {len(files[name])}\n".encode() + files[name])
    return digest.hexdigest()[:16]
