"""Makes claims out of words: a text for each, with what is known of the caller in it."""

import unicodedata
from functools import cache
from string import Template

from componentize_py_types import Err
from wit_world.imports import config, log, types

# There are no files when a rule runs. What is imported is imported when it is built: by the lines above, and by a first
# use of what imports more by itself, as templates do with `re`.
Template("${word}").is_valid()

MOST_CLAIMS = 32
LONGEST_TEXT = 256


def refusal(code: str, message: str) -> Err[types.Refusal]:
    """To be raised. The caller sees both."""
    return Err(types.Refusal(code, message))


def misconfigured(why: str) -> Err[types.Refusal]:
    """To be raised. The operator sees why."""
    log.log(log.Level.ERROR, why)
    return refusal("rule_misconfigured", "the rule's settings are wrong; tell the operator")


# The settings are the same for all requests of a batch, which are judged in one instance: they are read once for them.
@cache
def templates() -> dict[str, Template]:
    """The setting `claims`, by name."""
    lines = config.get("claims")
    if not isinstance(lines, types.Value_Texts) or not 1 <= len(lines.value) <= MOST_CLAIMS:
        raise misconfigured(f"`claims` must be a list of 1 to {MOST_CLAIMS} texts")
    found: dict[str, Template] = {}
    for line in lines.value:
        name, equals, text = line.partition("=")
        template = Template(text)
        if not name or not equals or name in found or not template.is_valid():
            raise misconfigured(f"`claims` has `{line}`; write NAME=TEXT, each name once, with $$ for a dollar sign")
        found[name] = template
    return found


@cache
def may_skip() -> bool:
    """The setting `missing`."""
    missing = config.get("missing")
    if missing is None:
        return False
    if not isinstance(missing, types.Value_Text) or missing.value not in ("refuse", "skip"):
        raise misconfigured("`missing` must be `refuse` or `skip`")
    return missing.value == "skip"


def word(value: types.Value) -> str:
    """What an attribute is in a text; nothing where it is none."""
    match value:
        case types.Value_Text(text):
            return text
        case types.Value_Int(number):
            return str(number)
        case types.Value_Texts(texts):
            return ", ".join(texts)
        case _:
            return ""


def words(request: types.Request, token: types.Token) -> dict[str, str]:
    """What templates may name. The request's own come last: no attribute stands in for one of them."""
    known = {name: word(value) for name, value in request.caller.attributes}
    known |= {"tenant": request.tenant, "profile": request.profile, "subject": token.subject or ""}
    return {name: text for name, text in known.items() if text.strip()}


def tidied(text: str) -> str:
    """Composed, without what controls or formats, one space between words."""
    text = unicodedata.normalize("NFC", " ".join(text.split()))
    return "".join(letter for letter in text if not unicodedata.category(letter).startswith("C"))


class WitWorld:
    def evaluate(self, request: types.Request) -> types.Verdict:
        wanted, skips = templates(), may_skip()
        if not isinstance(request.payload, types.Payload_Token):
            raise refusal("tokens_only", "this rule judges tokens, and this is an artifact")
        known = words(request, request.payload.value)
        claims: list[tuple[str, types.Value]] = []
        for name, template in wanted.items():
            unknown = [each for each in template.get_identifiers() if each not in known]
            if unknown and skips:
                continue
            if unknown:
                raise refusal("word_missing", f"the claim `{name}` needs `{unknown[0]}`, which is not known of the caller")
            text = tidied(template.substitute(known))
            if len(text) > LONGEST_TEXT:
                raise refusal("text_too_long", f"the claim `{name}` would have more than {LONGEST_TEXT} characters")
            claims.append((name, types.Value_Text(text)))
        return types.Verdict(lifetime_cap=None, claims=claims)
