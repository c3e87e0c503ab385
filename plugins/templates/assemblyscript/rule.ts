// Caps each token's lifetime at the setting `max_seconds`, and wants a subject in it.
import { Answer, Kind, Request, allow, config, misconfigured, refuse } from "./signet";

export { cabi_realloc } from "./signet";

export function evaluate(at: usize): Answer {
  const request = new Request(at);
  const max = config("max_seconds");
  if (max == null || max.kind != Kind.Int || max.int < 1 || max.int > i64(u32.MAX_VALUE)) {
    return misconfigured("`max_seconds` must be a whole number of seconds, at least 1");
  }
  if (request.isArtifact) return refuse("tokens_only", "this rule judges tokens, and this is an artifact");
  if (request.subject == null) return refuse("subject_missing", "a token needs a subject");
  return allow(max.int);
}
