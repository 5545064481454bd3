"""Progress on long work: numbered steps, time taken, rough time left."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


def human(seconds: float) -> str:
    """Seconds as a person says them: ``45 s``, ``4 min``."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


class Progress:
    """Prints a line per step, with what earlier runs took as the estimate.

    ``steps`` is (name, estimate in seconds). Measured times are kept in
    ``memory`` (a JSON file), so that the second estimate is better than the first.
    """

    def __init__(self, steps: Sequence[tuple[str, float]], memory: Path, heartbeat: float = 30.0) -> None:
        self._memory = memory
        self._times = self._recall()
        self._estimates = {name: self._times.get(name, estimate) for name, estimate in steps}
        self._left = [name for name, _ in steps]
        self._total = len(steps)
        self._heartbeat = heartbeat
        self.taken: dict[str, float] = {}

    def _recall(self) -> dict[str, float]:
        try:
            return {str(k): float(v) for k, v in json.loads(self._memory.read_text()).items()}
        except (OSError, ValueError, AttributeError):
            return {}

    def remaining(self) -> float:
        """Rough seconds until the last step is done."""
        return sum(self._estimates[name] for name in self._left)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Run one step of the list: says when it starts, now and then that it lives, and when it is done."""
        number = self._total - len(self._left) + 1
        start = time.monotonic()
        self._say(f"[{number}/{self._total}] {name} (about {human(self.remaining())} left in all)")
        done = threading.Event()

        def beat() -> None:
            while not done.wait(self._heartbeat):
                self._say(f"[{number}/{self._total}] {name}: still at it after {human(time.monotonic() - start)}")

        threading.Thread(target=beat, daemon=True).start()
        try:
            yield
        finally:
            done.set()
            self._left.remove(name)
        self.taken[name] = time.monotonic() - start
        self._times[name] = round(self.taken[name], 1)
        self._memory.parent.mkdir(parents=True, exist_ok=True)
        self._memory.write_text(json.dumps(self._times, indent=1, sort_keys=True))
        self._say(f"[{number}/{self._total}] {name}: {human(self.taken[name])}")

    @staticmethod
    def _say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)
