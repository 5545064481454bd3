"""Keeps the lab's programs running: starts them in their namespace, starts them again when they end."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

from .errors import LabError
from .service import Service


class _Unit:
    """One service with its thread and its process."""

    def __init__(self, service: Service, log: Path) -> None:
        self.service = service
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self.wanted = False
        self.starts = 0
        self.thread: threading.Thread | None = None

    def command(self) -> list[str]:
        """What is executed; ``nsenter`` rather than ``ip netns exec``, which would hide /sys/fs/cgroup."""
        enter = ["nsenter", f"--net=/run/netns/{self.service.netns}"] if self.service.netns else []
        return [*enter, *self.service.argv]

    def loop(self) -> None:
        while self.wanted:
            with self.log.open("ab") as log:
                try:
                    self.process = subprocess.Popen(
                        self.command(),
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        env={**os.environ, **self.service.env},
                        start_new_session=True,
                    )
                except OSError as exc:
                    log.write(f"supervisor: cannot start: {exc}\n".encode())
                else:
                    self.starts += 1
                    code = self.process.wait()
                    log.write(f"supervisor: ended with code {code}\n".encode())
            if self.wanted:
                time.sleep(self.service.restart_delay)


class Supervisor:
    """Starts, stops and reports services. Its methods may be called from several threads."""

    def __init__(self, log_folder: Path) -> None:
        self._log_folder = log_folder
        self._units: dict[str, _Unit] = {}
        self._lock = threading.RLock()
        log_folder.mkdir(parents=True, exist_ok=True)

    def start(self, service: Service) -> None:
        """Start ``service`` (again) and wait until it is ready; LabError when it is not in time."""
        with self._lock:
            unit = self._units.get(service.name)
            if unit is None or not unit.wanted:
                unit = _Unit(service, self._log_folder / f"{service.name}.log")
                unit.wanted = True
                self._units[service.name] = unit
                unit.thread = threading.Thread(target=unit.loop, name=service.name, daemon=True)
                unit.thread.start()
        deadline = time.monotonic() + service.ready_timeout
        while service.ready is not None and not service.ready():
            if time.monotonic() > deadline:
                raise LabError(
                    f"{service.name} was not ready within {service.ready_timeout:.0f} s; see {unit.log.name}."
                )
            time.sleep(0.1)

    def stop(self, name: str, number: signal.Signals = signal.SIGTERM, grace: float = 5.0) -> None:
        """Stop a service and keep it stopped; its whole session is killed after ``grace`` seconds."""
        unit = self._unit(name)
        unit.wanted = False
        if unit.process is not None and unit.process.poll() is None:
            self._kill(unit, number)
            if unit.thread is not None:
                unit.thread.join(grace)
            self._kill(unit, signal.SIGKILL)
        if unit.thread is not None:
            unit.thread.join(grace)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to the service's process; it is started again if that ends it."""
        self._kill(self._unit(name), number)

    def service(self, name: str) -> Service:
        """The description that ``name`` was last started with."""
        return self._unit(name).service

    def status(self) -> dict[str, dict[str, object]]:
        """Per service: ``state`` running, stopped or restarting, ``pid`` and how often it was started."""
        result: dict[str, dict[str, object]] = {}
        for name, unit in sorted(self._units.items()):
            alive = unit.process is not None and unit.process.poll() is None
            state = "running" if alive else "restarting" if unit.wanted else "stopped"
            result[name] = {
                "state": state,
                "pid": unit.process.pid if alive and unit.process else None,
                "starts": unit.starts,
            }
        return result

    def _unit(self, name: str) -> _Unit:
        with self._lock:
            if name not in self._units:
                raise LabError(f"There is no service {name!r}; known are: {', '.join(sorted(self._units))}.")
            return self._units[name]

    @staticmethod
    def _kill(unit: _Unit, number: signal.Signals) -> None:
        process = unit.process
        if process is None or process.poll() is not None:
            return
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            pass
