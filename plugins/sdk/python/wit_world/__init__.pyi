# What a Signet rule in Python may import: of the world signet:rule/rule@1.1.0, as componentize-py hands it over.
from abc import abstractmethod
from typing import Protocol

from .imports import types

class WitWorld(Protocol):

    @abstractmethod
    def evaluate(self, request: types.Request) -> types.Verdict:
        """
        Raises: `componentize_py_types.Err(wit_world.imports.types.Refusal)`
        """
        ...
