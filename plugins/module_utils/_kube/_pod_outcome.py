# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Whether it is certain that a pod will not run, as it is now. Pure.

Certain at once: an image whose registry gave a definite answer (not found, denied), or whose pull failed so that the
kubelet pauses, unless what failed may pass (a time-out, an error inside the registry or the name service); an image that
may not be pulled, has no valid name, or does not have the program. Certain after ``patience`` seconds without a change:
a pull whose failure may pass, a Secret, ConfigMap or key that is missing, a pod that the API server refuses. Certain after ``CRASHES`` starts that failed
before our eyes: a container that ends again and again. A pod that cannot be scheduled is never certain: a node may come.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

PATIENCE = 15.0  # seconds; somebody else may just be about to make what is missing
HICCUP = 30.0  # seconds that a registry or its name may be away; the kubelet tries twice more meanwhile
CRASHES = 3
SETTLED = 25.0  # seconds that a container has to live after a failure, if the one before it did not live shorter
_Object = Mapping[str, Any]
_NO_IMAGE = ("ErrImagePull", "ImagePullBackOff")
_NOT_MADE = ("CreateContainerError", "RunContainerError")
# Of a registry that will not say anything else in a minute.
_DEFINITE = re.compile(
    r"not found|manifest unknown|name unknown|no match for platform|no matching manifest|access denied|denied:|"
    r"unauthorized|forbidden|authorization failed|does not exist|invalid reference",
    re.IGNORECASE,
)
_PASSING = re.compile(
    r"time-?out|timed out|deadline exceeded|connection reset|\bEOF\b|\b50[0-9] (Internal|Bad|Service|Gateway)|temporary failure|server misbehaving|"
    r"QPS exceeded|RegistryUnavailable",
    re.IGNORECASE,
)
_MISSING = re.compile(r"not found|couldn't find key|non-existent|runAsNonRoot|run as root", re.IGNORECASE)
_NO_PROGRAM = re.compile(r"executable file not found|no such file or directory|exec format error|permission denied")
_NOT_NOW = re.compile(
    r"failed calling webhook|timed? ?out|deadline exceeded|connection refused|try again", re.IGNORECASE
)
_BACK_OFF = re.compile(r'^Back-off pulling image "[^"]*"(: ErrImagePull)?(: )?')
_PULL_REMEDY = (
    "correct the image's name and tag, or let its node pull it, for example by a pull secret at the service account "
    "that the pod runs under"
)


@dataclass(frozen=True)
class Outcome:
    """Why a pod will not run. ``failures`` are starts that failed, where it takes ``CRASHES`` of them to be certain."""

    container: str
    words: str
    remedy: str
    patience: float = 0.0
    failures: int = 0

    def sentence(self) -> str:
        """For the middle of a sentence, with the remedy at its end."""
        where = f"container {self.container}: " if self.container else ""
        return f"{where}{self.words}; {self.remedy}"


def outcome(pod: _Object) -> Outcome | None:
    """Why this pod will not run; None while it may, and for one that is on its way out."""
    if "deletionTimestamp" in pod["metadata"]:
        return None
    for container, status in containers(pod):
        found = _container(str(container.get("image") or status.get("image") or "?"), status)
        if found is not None:
            return found
    return None


def disposable(pod: _Object) -> str | None:
    """Why a disposable pod will not run, without patience: it is made again at the next run. None while it may."""
    found = outcome(pod)
    return None if found is None or found.failures else found.words


def containers(pod: _Object) -> Iterator[tuple[_Object, _Object]]:
    """Each container that has a status, with it, in the order in which they start."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    for listed, key in (("initContainers", "initContainerStatuses"), ("containers", "containerStatuses")):
        wanted = {one["name"]: one for one in spec.get(listed) or []}
        for one in status.get(key) or []:
            yield wanted.get(one.get("name"), {}), one


def _container(image: str, status: _Object) -> Outcome | None:
    name, state = str(status.get("name") or ""), status.get("state") or {}
    waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
    reason, message = str(waiting.get("reason") or ""), " ".join(str(waiting.get("message") or "").split())
    if reason in _NO_IMAGE:
        return _pull(name, image, reason, message)
    if reason == "ErrImageNeverPull":
        words = f"image {image} is not on the node, and its pull policy is Never"
        return Outcome(name, words, "load it there, or allow that it is pulled")
    if reason == "InvalidImageName":
        return Outcome(name, f"{image} is no valid name of an image", "correct it")
    if reason == "CreateContainerConfigError" and _MISSING.search(message):
        return Outcome(name, message, "create what is missing, or correct what refers to it", PATIENCE)
    last = ended or (status.get("lastState") or {}).get("terminated") or {}
    told = " ".join(str(last.get("message") or "").split()) if ended or reason == "CrashLoopBackOff" else message
    if "running" not in state and _NO_PROGRAM.search(told) and _did_not_start(reason, last):
        return Outcome(name, f"image {image} cannot be started: {told}", "use an image that has this program")
    if reason in _NOT_MADE:
        return Outcome(name, f"it cannot be started: {message}", "see the events of its pod", HICCUP)
    if reason == "CrashLoopBackOff" and last.get("exitCode"):
        restarts = int(status.get("restartCount") or 0)
        words = f"it ends again and again, last with {_end(last)}"
        return Outcome(name, words, "see its log", failures=restarts)
    return None


def _did_not_start(reason: str, last: _Object) -> bool:
    return reason in _NOT_MADE or last.get("reason") in ("StartError", "ContainerCannotRun")


def _pull(name: str, image: str, reason: str, message: str) -> Outcome:
    why = _BACK_OFF.sub("", message)
    if _PASSING.search(why):
        patience = HICCUP
    elif _DEFINITE.search(why) or (why and reason == "ImagePullBackOff"):
        patience = 0.0
    else:
        # The first try, or an old kubelet that says only that it pauses.
        patience = PATIENCE
    words = f"image {image} cannot be pulled" + (f": {why}" if why else "")
    return Outcome(name, words.rstrip("."), _PULL_REMEDY, patience)


def _end(last: _Object) -> str:
    reason = last.get("reason")
    return f"exit code {last.get('exitCode')}" + (f" ({reason})" if reason not in (None, "Error") else "")


def refused(message: str) -> Outcome | None:
    """What the API server said to the creation of a pod, as an outcome; None for what passes by itself."""
    words = " ".join(message.split()).rstrip(".")
    if not words or _NOT_NOW.search(words):
        return None
    return Outcome("", f"the API server refuses its pod: {words}", "allow it there, or change the pod", PATIENCE)


def is_of(pod: _Object, template: _Object) -> bool:
    """Whether a pod runs what this template says; what was added on its way in does not matter."""
    spec, wanted = pod.get("spec") or {}, template.get("spec") or {}
    for listed in ("initContainers", "containers"):
        held = {one["name"]: one for one in spec.get(listed) or []}
        for one in wanted.get(listed) or []:
            other = held.get(one["name"])
            if other is None or any(one.get(key) != other.get(key) for key in ("image", "command", "args")):
                return False
            if any(variable not in (other.get("env") or []) for variable in one.get("env") or []):
                return False
    return True


def unsettled(pod: _Object, now: float, ignore: Collection[str] = ()) -> str:
    """What speaks against a pod that is Ready: a container that has just failed and not lived longer yet; empty if none.

    A container is Ready whenever it runs, also between two crashes, unless a probe says more. ``ignore`` are containers
    that have such a probe.
    """
    for status in [one for _spec, one in containers(pod)]:
        if status.get("name") in ignore:
            continue
        last = (status.get("lastState") or {}).get("terminated") or {}
        started = moment(((status.get("state") or {}).get("running") or {}).get("startedAt"))
        if not last.get("exitCode") or not status.get("restartCount") or started is None:
            continue
        born, died = moment(last.get("startedAt")), moment(last.get("finishedAt"))
        life = SETTLED if born is None or died is None else min(died - born, SETTLED)
        if now - started < life + 5:
            return (
                f"container {status['name']} has been started again {status['restartCount']} times, last after "
                f"{_end(last)}, and has not lived longer since"
            )
    return ""


def moment(stamp: Any) -> float | None:
    """A time of the API server, in seconds since 1970."""
    try:
        return datetime.strptime(str(stamp), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return None
