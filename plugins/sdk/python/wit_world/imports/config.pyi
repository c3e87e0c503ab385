# What a Signet rule in Python may import: of the world signet:rule/rule@1.1.0, as componentize-py hands it over.
"""
The plugin's own settings, `[plugins.config]` of the bundle.
"""
from typing import Optional

from . import types

def get(name: str) -> Optional[types.Value]:
    ...
