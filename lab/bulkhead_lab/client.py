"""One command to the running lab, for code outside it."""

from __future__ import annotations

from typing import Any

from . import control
from .errors import LabError
from .paths import Paths


def lab_call(paths: Paths, command: str, **arguments: Any) -> Any:
    """The lab's answer; LabError with a sentence when it does not run."""
    try:
        return control.call(paths.control_socket, command, timeout=180, **arguments)
    except OSError as exc:
        raise LabError(f"The lab does not answer ({exc.strerror or exc}): run `lab up` first.") from exc
