"""Written by `signet plugin build`: calls `evaluate` of rule.py, and puts an exception that is no refusal into the rule's log."""

import rule
from componentize_py_types import Err
from wit_world.imports import log, types

_evaluate = rule.WitWorld.evaluate


def _tell(error):
    place, at = "", error.__traceback__
    while at is not None:
        place = f" at {at.tb_frame.f_code.co_filename.rsplit('/')[-1]}:{at.tb_lineno}"
        at = at.tb_next
    log.log(log.Level.ERROR, f"uncaught {type(error).__name__}: {error}{place}")


class WitWorld(rule.WitWorld):
    def evaluate(self, request):
        try:
            return _evaluate(self, request)
        except Err as error:
            if not isinstance(error.value, types.Refusal):
                _tell(error)
            raise
        except BaseException as error:
            _tell(error)
            raise
