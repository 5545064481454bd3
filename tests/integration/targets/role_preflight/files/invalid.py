# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the real playbook once for each file in ``invalid/``: it must fail with exactly that sentence and write nothing.

A file has ``cluster`` (none: no kubeconfig at all; closed: nobody listens; fake: a server on loopback that gives the
``answers``; real: the cluster of --kubeconfig), optionally ``user`` of a real one (admin, service-account, without-ca),
``namespace_labels`` of a namespace to be made before, ``objects`` to be made in it by their collections below it, ``vars``
of the playbook, and the ``sentence``. In objects, vars and sentence {server}, {kubeconfig}, {home} and {name} (of what is
made for the case) are filled in.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._client import Client, demand
from ansible_collections.bulkhead.mesh.plugins.module_utils._kube._types import Request

PLAYBOOK = "bulkhead.mesh.site"
FATAL = "fatal: [localhost]: FAILED! => "
AGENTS = ("bulkhead.mesh", "Helm")
WRITES = ("create", "update", "patch", "delete", "deletecollection")
QUESTIONS = ("selfsubjectaccessreviews", "selfsubjectreviews", "selfsubjectrulesreviews")
OPTIONS = ("context", "host", "api_key", "ca_cert", "client_cert", "client_key", "validate_certs")


class Fake(BaseHTTPRequestHandler):
    """Answers what the case says, 404 to everything else, and remembers what was asked."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    answers: dict[str, Any] = {}
    asked: list[str] = []

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.asked.append(f"{self.command} {self.path}")
        found = self.answers.get(self.path, {"status": 404, "body": {"kind": "Status", "message": "not found"}})
        body = json.dumps(found["body"]).encode()
        self.send_response(found["status"])
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _answer

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def kubeconfig_for(server: str, **cluster: Any) -> dict[str, Any]:
    """A kubeconfig with the one context ``test``."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "test", "user": {"token": "test"}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    }


class Real:
    """The real cluster: makes what a case needs, takes it away again, and reads the audit log."""

    def __init__(self, kubeconfig: str, audit: Path) -> None:
        self.kubeconfig, self.audit = kubeconfig, audit
        self.client = Client({"kubeconfig": kubeconfig, **dict.fromkeys(OPTIONS)})
        self.content = yaml.safe_load(Path(kubeconfig).read_text(encoding="utf-8"))

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """One call that has to succeed."""
        request = Request(path, f"{method} {path}", method=method, body=body)
        return demand(self.client.call(request), request, self.client.target)

    @contextlib.contextmanager
    def prepared(self, case: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
        """The kubeconfig for the case's user; namespace and ServiceAccount exist until the end."""
        made = []
        try:
            if "namespace_labels" in case:
                metadata = {"name": name, "labels": case["namespace_labels"]}
                self.ask("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
                made.append(f"/api/v1/namespaces/{name}")
                for collection, one in fill(case.get("objects", {}), {"name": name}).items():
                    prefix, dummy, kind = collection.rpartition("/")
                    self.ask("POST", f"/{prefix}/namespaces/{name}/{kind}", one)
                    # A namespace takes its time to go, and the next case must not see what is in it.
                    made.append(f"/{prefix}/namespaces/{name}/{kind}/{one['metadata']['name']}")
            kubeconfig = copy.deepcopy(self.content)
            if case["user"] == "service-account":
                accounts = "/api/v1/namespaces/default/serviceaccounts"
                account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
                self.ask("POST", accounts, account)
                made.append(f"{accounts}/{name}")
                wanted = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
                token = self.ask("POST", f"{accounts}/{name}/token", wanted)["status"]["token"]
                for user in kubeconfig["users"]:
                    user["user"] = {"token": token}
            elif case["user"] == "without-ca":
                server = kubeconfig["clusters"][0]["cluster"]["server"]
                kubeconfig = kubeconfig_for(server)
            yield kubeconfig
        finally:
            for path in reversed(made):
                self.ask("DELETE", path)

    def writes(self, since: int) -> list[str]:
        """What any client but the control plane wrote since byte ``since`` of the audit log."""
        found = []
        with self.audit.open("rb") as log:
            log.seek(since)
            for line in log:
                event = json.loads(line)
                target = event.get("objectRef") or {}
                dry = "All" in parse_qs(urlsplit(event["requestURI"]).query).get("dryRun", [])
                if event["verb"] not in WRITES or target.get("resource") in QUESTIONS or dry:
                    continue
                if event.get("userAgent", "").startswith(AGENTS):
                    found.append(f"{event['user']['username']}: {event['verb']} {event['requestURI']}")
        return found


def run_playbook(
    playbook: str, home: Path, kubeconfig: dict[str, Any] | None, variables: dict[str, Any]
) -> tuple[int, str]:
    """Exit status and the message of the one failed task."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8"}
    environment["ANSIBLE_COLLECTIONS_PATH"] = os.environ["ANSIBLE_COLLECTIONS_PATH"]
    environment |= {"ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "0"}
    (home / "vars.json").write_text(json.dumps(variables))
    if kubeconfig is not None:
        environment["K8S_AUTH_KUBECONFIG"] = str(home / "kubeconfig")
        (home / "kubeconfig").touch(mode=0o600)
        (home / "kubeconfig").write_text(json.dumps(kubeconfig))
    argv = ["ansible-playbook", playbook, "-e", f"@{home}/vars.json"]
    done = subprocess.run(argv, cwd=home, env=environment, capture_output=True, text=True, timeout=120, check=False)
    failed = [line for line in done.stdout.splitlines() if line.startswith(FATAL)]
    if len(failed) != 1:
        raise AssertionError(f"{len(failed)} tasks failed instead of one:\n{done.stdout}\n{done.stderr}")
    return done.returncode, json.loads(failed[0].removeprefix(FATAL))["msg"]


def fill(value: Any, names: dict[str, str]) -> Any:
    """``value`` with all placeholders filled in."""
    if isinstance(value, dict):
        return {key: fill(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [fill(inner, names) for inner in value]
    if isinstance(value, str):
        for name, text in names.items():
            value = value.replace("{" + name + "}", text)
    return value


def expect(case: dict[str, Any], names: dict[str, str], home: Path, kubeconfig: dict[str, Any] | None) -> None:
    """The playbook fails with the case's sentence and nothing else."""
    status, message = run_playbook(case["playbook"], home, kubeconfig, fill(case.get("vars", {}), names))
    sentence = fill(case["sentence"], names)
    assert message == sentence, f"\n  expected: {sentence}\n  got:      {message}"
    assert status == 2, f"exit status {status} instead of 2"


def check(path: Path, playbook: str, real: Real | None) -> None:
    """One case; an AssertionError says what is wrong."""
    case = {"playbook": playbook, **yaml.safe_load(path.read_text(encoding="utf-8"))}
    name = f"bulkhead-invalid-{secrets.token_hex(3)}"
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        names = {"home": str(home), "kubeconfig": f"{home}/kubeconfig", "name": name}
        if case["cluster"] == "none":
            expect(case, names, home, None)
        elif case["cluster"] == "closed":
            reserved = stack.enter_context(socket.socket())
            reserved.bind(("127.0.0.1", 0))  # bound but not listening: a connection is refused
            names["server"] = f"127.0.0.1:{reserved.getsockname()[1]}"
            expect(case, names, home, kubeconfig_for(f"https://{names['server']}"))
        elif case["cluster"] == "fake":
            asked: list[str] = []
            handler = type("Handler", (Fake,), {"answers": case["answers"], "asked": asked})
            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), handler))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            names["server"] = f"127.0.0.1:{server.server_port}"
            expect(case, names, home, kubeconfig_for(f"http://{names['server']}"))
            assert asked, "the fake server was never asked"
            written = [
                a for a in asked if not a.startswith("GET ") and not a.endswith(QUESTIONS) and "dryRun=All" not in a
            ]
            assert not written, f"it wrote: {written}"
        else:
            assert real is not None, "this case needs a cluster: pass --kubeconfig"
            names["server"] = real.client.target.server
            before = real.audit.stat().st_size
            kubeconfig = stack.enter_context(real.prepared(case, name))
            made = case["user"] == "service-account" or "namespace_labels" in case
            # Control: an audit log that does not show what was just made cannot show that nothing was.
            assert bool(real.writes(before)) == made, f"{real.audit} does not show what was made for this case"
            start = real.audit.stat().st_size
            expect(case, names, home, kubeconfig)
            written = real.writes(start)
            assert not written, f"it wrote: {written}"


def attempt(path: Path, playbook: str, real: Real | None) -> str:
    """What is wrong with one case; empty when it is as it should be."""
    try:
        check(path, playbook, real)
    except AssertionError as exc:
        return f"FAILED {path.stem}: {exc}"
    return ""


def main() -> int:
    """All cases, or those named; prints one line for each and answers 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kubeconfig", help="administrator's kubeconfig of the real cluster")
    parser.add_argument("--audit-log", type=Path, help="its audit log; default: audit.log beside the kubeconfig")
    parser.add_argument("--playbook", default=PLAYBOOK, help="what is run; default: %(default)s")
    parser.add_argument("--only", nargs="*", default=[])
    options = parser.parse_args()
    real = None
    if options.kubeconfig:
        audit = options.audit_log or Path(options.kubeconfig).with_name("audit.log")
        if not audit.is_file():
            parser.error(f"{audit} does not exist: name the API server's audit log with --audit-log")
        real = Real(options.kubeconfig, audit)
    paths = [path for path in sorted(options.folder.glob("*.yml")) if not options.only or path.stem in options.only]
    if not paths:
        parser.error(f"{options.folder} holds no case")
    shared = {path for path in paths if yaml.safe_load(path.read_text(encoding="utf-8"))["cluster"] == "real"}
    # Cases with a cluster of their own go side by side; those of the real one share its audit log.
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        apart = {path: pool.submit(attempt, path, options.playbook, real) for path in paths if path not in shared}
        found = {path: attempt(path, options.playbook, real) for path in paths if path in shared}
        found |= {path: future.result() for path, future in apart.items()}
    for path in paths:
        print(found[path] or f"ok     {path.stem}")
    return int(any(found.values()))


if __name__ == "__main__":
    sys.exit(main())
