# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""The resolver of a gateway: CoreDNS on the overlay, cluster names from a list, the rest through the tunnel."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

LIFE = 5  # seconds that clients may remember a cluster name
CACHE = 30  # seconds, at most, for names from behind the tunnel


def corefile(bind: str, records: Mapping[str, str], dns: Sequence[str], domain: str = "cluster.local") -> str:
    """Configuration of CoreDNS. ``records``: name without the domain, such as ``radarr.core.svc`` -> IPv4 address.

    Names of the cluster that are not listed do not exist: asking the tunnel for them would tell the VPN about the
    cluster. ``template`` comes before ``hosts`` in CoreDNS whatever the order here, so the records are templates too.
    """
    soa = f'authority "{domain}. {LIFE} IN SOA ns.dns.{domain}. hostmaster.{domain}. 1 7200 1800 86400 {LIFE}"'
    lines = [".:53 {", f"    bind {bind}", "    errors", "    reload 2s 1s", f"    cache {CACHE}"]
    for name, address in sorted(records.items()):
        pattern = re.sub(r"[.]", "[.]", f"{name}.{domain}.")
        lines += _block(
            f"template IN A {domain}",
            [
                f'match "(?i)^{pattern}$"',
                f'answer "{{{{ .Name }}}} {LIFE} IN A {address}"',
                "fallthrough",
            ],
        )
        # The name exists, but has nothing else: another answer would make a resolver give up on the A record.
        lines += _block(f"template IN ANY {domain}", [f'match "(?i)^{pattern}$"', "rcode NOERROR", soa, "fallthrough"])
    lines += _block(f"template IN ANY {domain}", ["rcode NXDOMAIN", soa])
    lines += _block(f"forward . {' '.join(dns)}", ["max_concurrent 1000", "expire 10s"])
    return "\n".join([*lines, "}", ""])


def _block(head: str, body: Sequence[str]) -> list[str]:
    return [f"    {head} {{", *(f"        {line}" for line in body), "    }"]
