# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""How a run ends in which some entries of a list could not be what was asked, and the others could. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any

from ansible_collections.bulkhead.mesh.plugins.module_utils._egress._model import Problem
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._errors import KubeError

# With these every request would fail, whomever it is for.
HOPELESS = ("BadCertificate", "TlsFailed", "Unauthorized", "Unreachable", "UntrustedCertificate")


@contextmanager
def failing(failures: MutableMapping[str, KubeError], names: Iterable[str], otherwise: str = "") -> Iterator[None]:
    """What fails in here fails for these and no others, unless nothing can go on.

    ``otherwise`` is what it fails for where there are none of them.
    """
    try:
        yield
    except KubeError as exc:
        if exc.failure["reason"] in HOPELESS:
            raise
        for name in list(names) or [otherwise]:
            failures.setdefault(name, exc)


def told(
    problems: Sequence[Problem], errors: Iterable[KubeError], names: Sequence[str], of: int, what: str
) -> dict[str, Any]:
    """``failed``, ``msg``, ``failure`` and ``problems`` of a result with every reason and every name; empty if all went well.

    ``names`` are those that are concerned, ``of`` how many the list has, ``what`` one of them is called.
    """
    unique = {error.msg: error for error in errors}
    if not problems and not unique:
        return {}
    lines = [*dict.fromkeys(map(str, problems)), *unique]
    concerned = f"This concerns {', '.join(names)}"
    if names and len(names) < of:
        lines.append(f"{concerned}; no other {what} had to wait for that.")
    elif any(name not in "\n".join(lines) for name in names):
        lines.append(f"{concerned}.")
    made: dict[str, Any] = {"failed": True, "msg": "\n".join(lines)}
    if problems:
        made["problems"] = [one.to_dict() for one in problems]
        made["failure"] = {"code": None, "reason": "Refused", "object": problems[0].object, "details": None}
    else:
        made["failure"] = dict(next(iter(unique.values())).failure)
    if unique and len(unique) + len(problems) > 1:
        said = [{"object": one.object, "msg": str(one)} for one in problems]
        made["failure"]["problems"] = [
            *said,
            *({"object": one.failure["object"], "msg": one.msg} for one in unique.values()),
        ]
    return made
