"""Entry point of ``dev/run``."""

from __future__ import annotations

import sys

from bulkhead_dev.cli import main

sys.exit(main(sys.argv[1:]))
