"""What the supervisor runs: one long-running program of the lab."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Service:
    """One supervised program.

    ``netns`` names a namespace under /run/netns, or None for the supervisor's own
    (the machine's for lab-init, the node's for the node). ``ready`` is polled until it returns
    true; None means ready as soon as it is started. A service that ends is
    started again after ``restart_delay`` seconds.
    """

    name: str
    argv: tuple[str, ...]
    netns: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    ready: Callable[[], bool] | None = None
    ready_timeout: float = 30.0
    restart_delay: float = 0.5
