"""The lab's one exception: a sentence for a person, and no traceback."""


class LabError(Exception):
    """What failed, on what, what was seen and what to do, in one sentence."""
