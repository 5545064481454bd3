"""What the tests of Istio's other ways need: an older release, and somebody who asks for a page all the time."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from running_lab import lab

from bulkhead_lab import charts, lifecycle, plan
from bulkhead_lab.paths import Paths

OLDER = "1.31.0"
PAUSE = 0.05  # seconds between two requests
# Every request has a connection of its own, as a browser's first one has; ends when its input does.
ASK = """
import http.client, json, select, sys, time
host, pause, told, begin = sys.argv[1], float(sys.argv[2]), [], time.monotonic()
while not select.select([sys.stdin], [], [], pause)[0]:
    start = time.monotonic()
    try:
        connection = http.client.HTTPConnection(host, timeout=2)
        connection.request("GET", "/")
        said = connection.getresponse()
        said.read()
        word = str(said.status)
    except OSError as exc:
        word = type(exc).__name__
    except http.client.HTTPException as exc:
        word = type(exc).__name__
    finally:
        connection.close()
    told.append([start - begin, time.monotonic() - begin, word])
print(json.dumps(told))
"""


@dataclass
class Asked:
    """Requests as (start, end, status or error), seconds since the first; known once the asking has ended."""

    requests: list[tuple[float, float, str]] = field(default_factory=list)

    @property
    def failed(self) -> dict[str, int]:
        """How many requests did not end with status 200, by what they ended with."""
        words = [one[2] for one in self.requests if one[2] != "200"]
        return {word: words.count(word) for word in sorted(set(words))}

    @property
    def longest(self) -> float:
        """The longest time in seconds in which no request was answered: from one good end to the next."""
        ends = [0.0, *(one[1] for one in self.requests if one[2] == "200"), self.requests[-1][1]]
        return max(later - earlier for earlier, later in zip(ends, ends[1:], strict=False))


@contextmanager
def asking(paths: Paths, address: str) -> Iterator[Asked]:
    """Ask for a page from the home network for as long as the block runs."""
    asked = Asked()
    command = lifecycle.enter_command(paths, plan.NS_LAN, ["python3", "-c", ASK, address, str(PAUSE)])
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield asked
    finally:
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    asked.requests += map(tuple, json.loads(out))


def older_release(target: Path) -> None:
    """The lab's charts under the older version, and the lab's images under the older tag: other names, same content."""
    shutil.copytree(lab("charts").strip(), target)
    for name in charts.ISTIO_CHARTS:
        file = target / charts.ISTIO / name / "Chart.yaml"
        file.write_text(charts.released(file.read_text(), OLDER))
    for name in plan.ISTIO_IMAGES:
        image = plan.istio_image(name)
        older = f"{image.rpartition(':')[0]}:{OLDER}"
        lab("node-exec", "--", "ctr", "-n", "k8s.io", "images", "tag", "--force", image, older)
