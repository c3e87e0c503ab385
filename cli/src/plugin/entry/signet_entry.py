"""Written by `signet plugin build`: calls `evaluate` of rule.py, and puts an exception that is no refusal into the rule's log, and
an answer that is no verdict: that would be a trap without a word."""

import rule
from componentize_py_types import Err, Ok
from wit_world.imports import log, types

_evaluate = rule.WitWorld.evaluate


def _is_int(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _is_text(value):
    return isinstance(value, str)


_KINDS = {
    types.Value_Text: _is_text,
    types.Value_Int: lambda value: _is_int(value) and -(2**63) <= value < 2**63,
    types.Value_Float: lambda value: isinstance(value, float) or _is_int(value),
    types.Value_Boolean: lambda value: isinstance(value, bool),
    types.Value_Texts: lambda value: isinstance(value, list) and all(map(_is_text, value)),
    types.Value_Json: _is_text,
}


def _is_claim(claim):
    if not isinstance(claim, tuple) or len(claim) != 2 or not _is_text(claim[0]):
        return False
    is_kind = _KINDS.get(type(claim[1]))
    return is_kind is not None and is_kind(claim[1].value)


def _mistake(answer):
    """What is wrong with an answer, without values of claims; nothing with a verdict. A cap of 0 is the host's to name."""
    if not isinstance(answer, types.Verdict):
        return f"{type(answer).__name__} is not like types.Verdict(lifetime_cap=60, claims=[])"
    cap, claims = answer.lifetime_cap, answer.claims
    if cap is not None and not (_is_int(cap) and 0 <= cap < 2**32):
        return f"`lifetime_cap`: {cap!r} is no whole number of seconds up to 4294967295"
    if not isinstance(claims, list):
        return "`claims` is no list; where there are none it is []"
    for at, claim in enumerate(claims):
        if not _is_claim(claim):
            return f'`claims[{at}]` is not like ("plan", types.Value_Text("free"))'
    return None


def _say(message):
    if log is not None:
        log.log(log.Level.ERROR, message)


def _checked(answer, where):
    wrong = _mistake(answer)
    if wrong is not None:
        _say(f"{where}evaluate returned no verdict: {wrong}")
        raise TypeError(wrong)
    return answer


def _is_refusal(value):
    return isinstance(value, types.Refusal) and _is_text(value.code) and _is_text(value.message)


def _tell(error, where):
    place, at = "", error.__traceback__
    while at is not None:
        place = f" at {at.tb_frame.f_code.co_filename.rsplit('/')[-1]}:{at.tb_lineno}"
        at = at.tb_next
    _say(f"{where}uncaught {type(error).__name__}: {error}{place}")


def _judged(world, request, where=""):
    """The rule's verdict; raises its refusal. `where`: what a line about anything else begins with."""
    try:
        answer = _evaluate(world, request)
    except Err as error:
        if not _is_refusal(error.value):
            _tell(error, where)
        raise
    except BaseException as error:
        _tell(error, where)
        raise
    return _checked(answer, where)


def _outcome(world, request, place):
    """One of a batch, as the value that it is in a list. What is no refusal fails the batch."""
    try:
        return Ok(_judged(world, request, f"request {place} of a batch: "))
    except Err as error:
        if not _is_refusal(error.value):
            raise
        return Err(error.value)


class WitWorld(rule.WitWorld):
    def evaluate(self, request):
        return _judged(self, request)

    # Called where the rule's world has it.
    def evaluate_batch(self, requests):
        return [_outcome(self, request, place) for place, request in enumerate(requests, 1)]
