# What a Signet rule in Python may import: of the world signet:rule/rule@1.1.0, as componentize-py hands it over.
"""
One line for the edge's log. Bounded: what is over the limit is cut or dropped, and counted.
"""
from enum import Enum

class Level(Enum):
    TRACE = 0
    DEBUG = 1
    INFO = 2
    WARN = 3
    ERROR = 4

def log(level: Level, message: str) -> None:
    ...
