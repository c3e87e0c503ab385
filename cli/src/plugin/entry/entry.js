// Written by `signet plugin build`: calls `evaluate` of rule.js, and puts an exception that is no refusal into the rule's log,
// and an answer that is no verdict: the engine itself would leave out or convert parts of one, and so might allow more.
import { log } from "signet:rule/log@1.0.0";
import { evaluate as rule } from "../rule.js";

function text(thrown) {
  if (thrown instanceof Error) {
    return `${thrown} at ${String(thrown.stack).split("\n")[0]}`;
  }
  try {
    return JSON.stringify(thrown) ?? String(thrown);
  } catch {
    return String(thrown);
  }
}

const isText = (val) => typeof val === "string";
const kinds = {
  text: isText,
  int: (val) => (typeof val === "bigint" ? BigInt.asIntN(64, val) === val : Number.isSafeInteger(val)),
  float: (val) => typeof val === "number",
  boolean: (val) => typeof val === "boolean",
  texts: (val) => Array.isArray(val) && val.every(isText),
  json: isText,
};

function isClaim(claim) {
  return Array.isArray(claim) && claim.length === 2 && isText(claim[0]) &&
    Object.hasOwn(kinds, claim[1]?.tag) && kinds[claim[1].tag](claim[1].val);
}

// What is wrong with an answer, without values of claims; nothing with a verdict. A cap of 0 is the host's to name.
function mistake(answer) {
  if (typeof answer !== "object" || answer === null) {
    return `${String(answer)} is not like { lifetimeCap: 60, claims: [] }`;
  }
  const { lifetimeCap, claims, ...rest } = answer;
  const [unknown] = Object.keys(rest);
  if (unknown !== undefined) {
    return `\`${unknown}\`: a verdict has \`lifetimeCap\` and \`claims\` only`;
  }
  if (lifetimeCap != null && !(typeof lifetimeCap === "number" && lifetimeCap >>> 0 === lifetimeCap)) {
    return `\`lifetimeCap\`: ${typeof lifetimeCap} ${String(lifetimeCap)} is no whole number of seconds up to 4294967295`;
  }
  if (!Array.isArray(claims)) {
    return "`claims` is no list; where there are none it is []";
  }
  const at = claims.findIndex((claim) => !isClaim(claim));
  return at < 0 ? undefined : `\`claims[${at}]\` is not like ["plan", { tag: "text", val: "free" }]`;
}

function checked(answer) {
  const wrong = mistake(answer);
  if (wrong === undefined) {
    return answer;
  }
  log("error", `evaluate returned no verdict: ${wrong}`);
  throw new TypeError(wrong);
}

function tell(thrown) {
  const refusal = thrown?.payload ?? (thrown instanceof Error ? undefined : thrown);
  if (typeof refusal?.code !== "string" || typeof refusal?.message !== "string") {
    log("error", `uncaught ${text(thrown)}`);
  }
}

function fail(thrown) {
  tell(thrown);
  throw thrown;
}

export function evaluate(request) {
  let answer;
  try {
    answer = rule(request);
  } catch (thrown) {
    fail(thrown);
  }
  // One that is `async` throws later.
  return answer instanceof Promise ? answer.catch(fail).then(checked) : checked(answer);
}
