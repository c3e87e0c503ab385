"""Caps each token's lifetime at the setting `max_seconds`, and wants a subject in it."""

from componentize_py_types import Err
from wit_world.imports import config, log, types


def refusal(code: str, message: str) -> Err[types.Refusal]:
    """To be raised. The caller sees both."""
    return Err(types.Refusal(code, message))


class WitWorld:
    def evaluate(self, request: types.Request) -> types.Verdict:
        limit = config.get("max_seconds")
        if not isinstance(limit, types.Value_Int) or not 1 <= limit.value <= 0xFFFF_FFFF:
            log.log(log.Level.ERROR, "`max_seconds` must be a whole number of seconds, at least 1")
            raise refusal("rule_misconfigured", "the rule's settings are wrong; tell the operator")
        if not isinstance(request.payload, types.Payload_Token):
            raise refusal("tokens_only", "this rule judges tokens, and this is an artifact")
        if request.payload.value.subject is None:
            raise refusal("subject_missing", "a token needs a subject")
        return types.Verdict(lifetime_cap=limit.value, claims=[])
