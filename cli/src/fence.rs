//! Asks the authority whether what was stopped can still be signed with, and waits until it cannot.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::AdminArgs;
use crate::failure::Failure;
use crate::output;
use crate::progress::Progress;

/// Between two questions: short at first, since edges that listen obey within milliseconds.
const SOON: Duration = Duration::from_millis(20);
const LATER: Duration = Duration::from_millis(250);

/// How a stop stands now. `of` is `key/ID`, `edge/ID`, `bundle`, or the name of a stop.
pub fn ask(admin: &AdminArgs, of: &str) -> Result<Value, Failure> {
    admin.call("POST", "/v1/fence", Some(&json!({"of": of})))
}

/// Waits until it is fenced; answers how it stands then.
pub fn wait(admin: &AdminArgs, of: &str) -> Result<Value, Failure> {
    let mut progress = Progress::new("waiting for the last lease", "ms at most");
    let (mut longest, mut pause) = (0, SOON);
    loop {
        let answer = ask(admin, of)?;
        if is_fenced(&answer) {
            return Ok(answer);
        }
        let left = answer.get("left_ms").and_then(Value::as_u64).unwrap_or(0);
        longest = left.max(longest);
        progress.tell(longest.saturating_sub(left), longest);
        std::thread::sleep(pause);
        pause = pause.saturating_mul(2).min(LATER);
    }
}

/// Prints how a stop stands; a line for people.
pub fn print(answer: &Value, what: &str, is_json: bool) -> Result<(), Failure> {
    if is_json {
        return output::json(answer);
    }
    let committed = answer.get("committed").and_then(Value::as_u64).unwrap_or_default();
    if is_fenced(answer) {
        return output::line(&format!(
            "{what}: fenced; no edge signs with it any more (committed at revision {committed})"
        ));
    }
    let until = answer.get("at_most_until").and_then(Value::as_str).unwrap_or("-");
    let edges = answer.get("awaiting").and_then(Value::as_array).into_iter().flatten();
    let mut names: Vec<_> = edges.filter_map(|one| one.get("edge")?.as_str()).collect();
    names.dedup();
    output::line(&format!(
        "{what}: committed at revision {committed}, not fenced yet; waits for {} until {until} at most",
        names.join(", ")
    ))
}

fn is_fenced(answer: &Value) -> bool {
    answer.get("fenced").and_then(Value::as_bool) == Some(true)
}
