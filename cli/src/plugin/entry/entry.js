// Written by `signet plugin build`: calls `evaluate` of rule.js, and puts an exception that is no refusal into the rule's log.
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
  try {
    const answer = rule(request);
    // One that is `async` throws later.
    return answer instanceof Promise ? answer.catch(fail) : answer;
  } catch (thrown) {
    fail(thrown);
  }
}
