// Stands around a rule: makes its verdict or its refusal plain, and tells the log of anything else, which is a trap then.
// What it hands to engine.c is [code, message], or [lifetimeCap, claims, null] with each claim [name, number of its kind, value]: new arrays,
// for which each member of the rule's was read once. A rule may have changed what arrays inherit, so that none of it is used here.
import * as module from "./rule.js";

export function entry({ log }) {
  const rule = module.evaluate;
  if (typeof rule !== "function") {
    throw new TypeError("it exports no function by the name `evaluate`: export function evaluate(request) { return { claims: [] }; }");
  }

  class NoVerdict extends Error {}

  const isText = (val) => typeof val === "string" && val.isWellFormed();
  const isInt = (val) => (typeof val === "bigint" ? BigInt.asIntN(64, val) === val : Number.isSafeInteger(val));

  // The list with each item made plain, or the place of the first for which there is nothing. A hole is `undefined`.
  function plainList(list, plain) {
    const { length } = list;
    const made = [];
    for (let at = 0; at < length; at++) {
      const item = plain(list[at]);
      if (item === undefined) {
        return at;
      }
      made[at] = item;
    }
    return made;
  }

  // With the kind's number in the WIT type `value`.
  function plainValue(tag, val) {
    switch (tag) {
      case "text":
        return isText(val) ? [0, val] : undefined;
      case "int":
        return isInt(val) ? [1, BigInt(val)] : undefined;
      case "float":
        return typeof val === "number" ? [2, val] : undefined;
      case "boolean":
        return typeof val === "boolean" ? [3, val] : undefined;
      case "texts": {
        const texts = Array.isArray(val) ? plainList(val, (text) => (isText(text) ? text : undefined)) : undefined;
        return typeof texts === "object" ? [4, texts] : undefined;
      }
      case "json":
        return isText(val) ? [5, val] : undefined;
      default:
        return undefined;
    }
  }

  function plainClaim(claim) {
    if (!Array.isArray(claim) || claim.length !== 2) {
      return undefined;
    }
    const name = claim[0];
    const { tag, val } = claim[1] ?? {};
    const value = plainValue(tag, val);
    return isText(name) && value !== undefined ? [name, value[0], value[1]] : undefined;
  }

  // What is wrong is said without values of claims. A cap of 0 is the host's to name.
  function plain(answer) {
    if (typeof answer !== "object" || answer === null) {
      throw new NoVerdict(`${String(answer)} is not like { lifetimeCap: 60, claims: [] }`);
    }
    for (const name in answer) {
      if (name !== "lifetimeCap" && name !== "claims") {
        throw new NoVerdict(`\`${name}\`: a verdict has \`lifetimeCap\` and \`claims\` only`);
      }
    }
    const { lifetimeCap, claims } = answer;
    if (lifetimeCap !== undefined && !(typeof lifetimeCap === "number" && lifetimeCap >>> 0 === lifetimeCap)) {
      const told = lifetimeCap === null ? "null" : `${typeof lifetimeCap} ${String(lifetimeCap)}`;
      throw new NoVerdict(`\`lifetimeCap\`: ${told} is no whole number of seconds up to 4294967295`);
    }
    if (!Array.isArray(claims)) {
      throw new NoVerdict("`claims` is no list; where there are none it is []");
    }
    const made = plainList(claims, plainClaim);
    if (typeof made === "number") {
      throw new NoVerdict(`\`claims[${made}]\` is not like ["plan", { tag: "text", val: "free" }]`);
    }
    return [lifetimeCap, made, null];
  }

  function refused(thrown) {
    const refusal = thrown?.payload ?? (thrown instanceof Error ? undefined : thrown);
    const { code, message } = refusal ?? {};
    if (isText(code) && isText(message)) {
      return [code, message];
    }
    throw thrown;
  }

  function evaluate(request) {
    try {
      const answer = rule(request);
      return answer instanceof Promise ? answer.then(plain).then(undefined, refused) : plain(answer);
    } catch (thrown) {
      return refused(thrown);
    }
  }

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

  // Of what engine.c was left with, before it traps. `isLost`: it was thrown where nothing awaits it. `place`: of the request in its batch,
  // from 1; 0 where there is none.
  function uncaught(thrown, isLost, place) {
    let line = "uncaught: what was thrown cannot be told";
    try {
      const where = isLost ? ", in a promise that nothing awaits:" : "";
      line = thrown instanceof NoVerdict ? `evaluate returned no verdict: ${thrown.message}` : `uncaught${where} ${text(thrown)}`;
    } finally {
      log("error", `${place > 0 ? `request ${place} of a batch: ` : ""}${line.toWellFormed()}`);
    }
  }

  return [evaluate, uncaught];
}
