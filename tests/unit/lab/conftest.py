"""The lab's Python is imported from the checkout, not from a collection."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "lab"))
