"""Run the table of NetworkPolicy cases on a running lab and print it.

usage: run.py [--only TEXT] [--keep]
"""

from __future__ import annotations

import argparse
import sys
import time

from netpol_cases import CaseFile
from netpol_cluster import Lab


def main() -> int:
    """Run; exit code 1 if a case does not hold."""
    parser = argparse.ArgumentParser(description="NetworkPolicy cases on the running lab.")
    parser.add_argument("--only", default="", metavar="TEXT", help="only cases whose name contains TEXT")
    parser.add_argument("--keep", action="store_true", help="leave the cast in the cluster")
    options = parser.parse_args()
    cases = CaseFile.load()
    chosen = [case for case in cases.cases if options.only in case.name]
    if not chosen:
        parser.error(f"no case has {options.only!r} in its name; leave --only out to see them all")
    start = time.monotonic()
    lab = Lab(cases)
    lab.netpol("mode", "on")
    lab.raise_cast()
    print(f"cast of {len(cases.pods)} pods ready after {time.monotonic() - start:.1f} s", flush=True)
    failed = probes = 0
    for case in chosen:
        began = time.monotonic()
        problems = lab.run(case)
        count = len(case.probes) + len(case.flows)
        probes += count
        failed += bool(problems)
        result = "FAIL" if problems else "ok"
        print(f"{result:4} {case.name:40} {count:3} probes {time.monotonic() - began:5.1f} s", flush=True)
        for problem in problems:
            print(f"     {problem}", flush=True)
    lab.apply([])
    if not options.keep:
        lab.remove_cast()
    passed = len(chosen) - failed
    print(f"{passed} of {len(chosen)} cases hold, {probes} probes, {time.monotonic() - start:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
