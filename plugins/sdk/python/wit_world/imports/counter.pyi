# What a Signet rule in Python may import: of the world signet:rule/rule@1.1.0, as componentize-py hands it over.
"""
Counts over sliding windows, kept by this edge for this plugin. The one thing a rule can leave behind.
"""
from enum import Enum

class Problem(Enum):
    FULL = 0
    OUT_OF_BOUNDS = 1

def increment(key: str, window_seconds: int) -> int:
    """
    Counts one use of `key` and answers how many there were within the last `window-seconds`, this one included.
    The count stays, whatever the rule answers and whether or not it ends.

    Raises: `componentize_py_types.Err(wit_world.imports.counter.Problem)`
    """
    ...
