/* Caps each token's lifetime at the setting `max_seconds`, and wants a subject in it. */
#include "signet_rule.h"

signet_answer *evaluate(const signet_request *request) {
    signet_setting max = signet_config(SIGNET_LITERAL("max_seconds"));
    if (!max.is_some || max.value.kind != SIGNET_INT || max.value.integer < 1 || max.value.integer > UINT32_MAX)
        return signet_misconfigured(SIGNET_LITERAL("`max_seconds` must be a whole number of seconds, at least 1"));
    if (request->is_artifact)
        return signet_refuse(SIGNET_LITERAL("tokens_only"),
                             SIGNET_LITERAL("this rule judges tokens, and this is an artifact"));
    if (!request->token.subject.is_some)
        return signet_refuse(SIGNET_LITERAL("subject_missing"), SIGNET_LITERAL("a token needs a subject"));
    return signet_allow_for((uint32_t)max.value.integer);
}
