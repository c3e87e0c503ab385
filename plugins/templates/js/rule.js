// Caps each token's lifetime at the setting `max_seconds`, and wants a subject in it.
import { get } from "signet:rule/config@1.0.0";
import { log } from "signet:rule/log@1.0.0";

/** @type {signet.Evaluate} */
export function evaluate(request) {
  const max = get("max_seconds");
  if (max?.tag !== "int" || max.val < 1n || max.val > 0xffff_ffffn) {
    log("error", "`max_seconds` must be a whole number of seconds, at least 1");
    throw { code: "rule_misconfigured", message: "the rule's settings are wrong; tell the operator" };
  }
  if (request.payload.tag === "artifact") {
    throw { code: "tokens_only", message: "this rule judges tokens, and this is an artifact" };
  }
  if (request.payload.val.subject === undefined) {
    throw { code: "subject_missing", message: "a token needs a subject" };
  }
  return { lifetimeCap: Number(max.val), claims: [] };
}
