"""Count the writes of bulkhead.mesh in an audit log from a place on; prints them, all its requests and the new place.

Usage: writes.py LOG PLACE
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

WRITES = {"create", "update", "patch", "delete", "deletecollection"}


def main(log: str, place: str) -> None:
    """Read and print."""
    with Path(log).open("rb") as file:
        file.seek(int(place))
        lines = file.read().splitlines(keepends=True)
    position = int(place) + sum(len(line) for line in lines)
    events = [json.loads(line) for line in lines if line.endswith(b"\n")]
    ours = [event for event in events if event.get("userAgent") == "bulkhead.mesh"]
    writes = [event for event in ours if event["verb"] in WRITES and "dryRun=All" not in event["requestURI"]]
    print(json.dumps({"writes": len(writes), "requests": len(ours), "position": position}))


if __name__ == "__main__":
    main(*sys.argv[1:])
