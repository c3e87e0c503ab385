# What a Signet rule in Python may import: of the world signet:rule/rule@1.1.0, as componentize-py hands it over.
from abc import abstractmethod
from typing import Protocol

from .imports import types

class WitWorld(Protocol):

    @abstractmethod
    def evaluate(self, request: types.Request) -> types.Verdict:
        """
        Raises: `componentize_py_types.Err(wit_world.imports.types.Refusal)`

        With `world = "signet:rule/rule-batch@1.2.0"` in plugin.toml it is called for up to 16 requests of a batch in one
        instance, one after the other: what the rule's modules keep is there for the next of them, and for no other call.
        Nothing else is to be written.
        """
        ...
