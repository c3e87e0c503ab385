// Stands around a rule: an exception that is no refusal is a line of its log before it is a trap, and so is an answer that is no verdict.
// What it hands to engine.c is plain: [code, message], or [lifetimeCap, claims, null] with each claim [name, number of its kind, value].
import { evaluate as rule } from "./rule.js";

export function entry({ log }) {
  const say = (line) => log("error", line.toWellFormed());

  function text(thrown) {
    if (thrown instanceof Error) {
      const lines = String(thrown.stack).split("\n").map((line) => line.trim());
      return `${thrown} ${lines.find((line) => !/\(native\)$|\bsignet:/.test(line)) ?? ""}`.trimEnd();
    }
    try {
      return JSON.stringify(thrown) ?? String(thrown);
    } catch {
      return String(thrown);
    }
  }

  const isText = (val) => typeof val === "string" && val.isWellFormed();
  // In the order of the WIT type `value`.
  const kinds = ["text", "int", "float", "boolean", "texts", "json"];
  const checks = [
    isText,
    (val) => (typeof val === "bigint" ? BigInt.asIntN(64, val) === val : Number.isSafeInteger(val)),
    (val) => typeof val === "number",
    (val) => typeof val === "boolean",
    (val) => Array.isArray(val) && val.every(isText),
    isText,
  ];

  // What engine.c takes for it; nothing if it is no claim.
  function plainClaim(claim) {
    if (!Array.isArray(claim) || claim.length !== 2) {
      return undefined;
    }
    const [name, value] = claim;
    const [kind, val] = [kinds.indexOf(value?.tag), value?.val];
    if (!isText(name) || kind < 0 || !checks[kind](val)) {
      return undefined;
    }
    return [name, kind, kinds[kind] === "int" ? BigInt(val) : val];
  }

  // Says what is wrong, without values of claims.
  function wrong(what) {
    say(`evaluate returned no verdict: ${what}`);
    throw new TypeError(what);
  }

  // A cap of 0 is the host's to name.
  function plain(answer) {
    if (typeof answer !== "object" || answer === null) {
      wrong(`${String(answer)} is not like { lifetimeCap: 60, claims: [] }`);
    }
    const unknown = Object.keys(answer).find((name) => name !== "lifetimeCap" && name !== "claims");
    if (unknown !== undefined) {
      wrong(`\`${unknown}\`: a verdict has \`lifetimeCap\` and \`claims\` only`);
    }
    const { lifetimeCap, claims } = answer;
    if (lifetimeCap != null && !(typeof lifetimeCap === "number" && lifetimeCap >>> 0 === lifetimeCap)) {
      wrong(`\`lifetimeCap\`: ${typeof lifetimeCap} ${String(lifetimeCap)} is no whole number of seconds up to 4294967295`);
    }
    if (!Array.isArray(claims)) {
      wrong("`claims` is no list; where there are none it is []");
    }
    const made = claims.map(plainClaim);
    const at = made.indexOf(undefined);
    if (at >= 0) {
      wrong(`\`claims[${at}]\` is not like ["plan", { tag: "text", val: "free" }]`);
    }
    return [lifetimeCap ?? undefined, made, null];
  }

  function refused(thrown) {
    const refusal = thrown?.payload ?? (thrown instanceof Error ? undefined : thrown);
    const { code, message } = refusal ?? {};
    if (isText(code) && isText(message)) {
      return [code, message];
    }
    say(`uncaught ${text(thrown)}`);
    throw thrown;
  }

  return function evaluate(request) {
    let answer;
    try {
      answer = rule(request);
    } catch (thrown) {
      return refused(thrown);
    }
    // One that is `async` throws later.
    return answer instanceof Promise ? answer.then(plain, refused) : plain(answer);
  };
}
