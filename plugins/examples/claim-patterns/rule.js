// Holds the claims of a token to regular expressions.
import { get } from "signet:rule/config@1.0.0";
import { log } from "signet:rule/log@1.0.0";

/** @param {string} why for the operator @returns {signet.Refusal} */
function misconfigured(why) {
  log("error", why);
  return { code: "rule_misconfigured", message: "the rule's settings are wrong; tell the operator" };
}

/** A setting that is a list of texts; none where it is not set. @param {string} name */
function texts(name) {
  const value = get(name);
  if (value !== undefined && value.tag !== "texts") {
    throw misconfigured(`\`${name}\` must be a list of texts`);
  }
  return value?.val;
}

/** `NAME=EXPRESSION`, as the whole of a text must match it. @param {string} line @returns {[string, RegExp]} */
function pattern(line) {
  const at = line.indexOf("=");
  if (at < 1) {
    throw misconfigured(`\`patterns\` has \`${line}\`; write NAME=EXPRESSION`);
  }
  try {
    return [line.slice(0, at), new RegExp(`^(?:${line.slice(at + 1)})$`, "u")];
  } catch (error) {
    throw misconfigured(`\`patterns\` has \`${line}\`: ${error}`);
  }
}

function settings() {
  const lines = texts("patterns") ?? [];
  const patterns = new Map(lines.map(pattern));
  if (patterns.size === 0 || patterns.size < lines.length) {
    throw misconfigured("`patterns` must have an entry at least, and none twice for the same claim");
  }
  const others = get("others") ?? { tag: "text", val: "allow" };
  if (others.tag !== "text" || !["allow", "refuse"].includes(others.val)) {
    throw misconfigured("`others` must be `allow` or `refuse`");
  }
  return { patterns, required: texts("required") ?? [], allowsOthers: others.val === "allow" };
}

/**
 * The same for all requests of a batch, which are judged in one instance: read, and its expressions compiled, once for them.
 * @type {ReturnType<typeof settings> | undefined}
 */
let kept;

/** Whether all of a claim's texts match. What is no text matches nothing. @param {signet.Value} value @param {RegExp} expression */
function matches(value, expression) {
  const all = value.tag === "texts" ? value.val : value.tag === "text" ? [value.val] : [value];
  return all.every((text) => typeof text === "string" && expression.test(text));
}

/** A claim's name, which a caller chose, on one line and not too long. @param {string} name */
const shown = (name) => JSON.stringify(name.slice(0, 64));

/** @type {signet.Evaluate} */
export function evaluate(request) {
  const { patterns, required, allowsOthers } = (kept ??= settings());
  if (request.payload.tag === "artifact") {
    throw { code: "tokens_only", message: "this rule judges tokens, and this is an artifact" };
  }
  const claims = new Map(request.payload.val.claims);
  const missing = required.find((name) => !claims.has(name));
  if (missing !== undefined) {
    throw { code: "claim_missing", message: `the claim ${shown(missing)} is missing` };
  }
  for (const [name, value] of claims) {
    const expression = patterns.get(name);
    if (expression === undefined && !allowsOthers) {
      throw { code: "claim_unknown", message: `the claim ${shown(name)} is none that this profile takes` };
    }
    if (expression !== undefined && !matches(value, expression)) {
      throw { code: "claim_malformed", message: `the claim ${shown(name)} is not of the form that it must have` };
    }
  }
  return { claims: [] };
}
