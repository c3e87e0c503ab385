# What a Signet rule in Python may import: of the world signet:rule/rule@1.1.0, as componentize-py hands it over.
"""
Read-only tables that the bundle brings, `[plugins.tables]`.
"""
from enum import Enum
from typing import Optional

class Problem(Enum):
    NO_SUCH_TABLE = 0
    WRONG_KIND = 1
    NOT_AN_ADDRESS = 2

def get(table: str, key: str) -> Optional[str]:
    """
    The value of a key in a table of the kind `exact`.

    Raises: `componentize_py_types.Err(wit_world.imports.lookup.Problem)`
    """
    ...
def prefix(table: str, address: str) -> Optional[str]:
    """
    The value of the longest prefix that holds an IP address, in a table of the kind `prefix`.

    Raises: `componentize_py_types.Err(wit_world.imports.lookup.Problem)`
    """
    ...
