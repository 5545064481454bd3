"""Why a suite could not run or did not pass, as one sentence for a person."""

from __future__ import annotations


class ToolError(Exception):
    """Something is wrong or cannot be had: the suite fails."""


class Unavailable(Exception):
    """This machine cannot run the suite at all (not root, not Linux): the suite is skipped."""
