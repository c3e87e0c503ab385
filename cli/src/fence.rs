//! Asks the authority whether what was stopped can still be signed with, and waits until it cannot.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{AdminArgs, describe, runtime};
use crate::failure::Failure;
use crate::output;
use crate::progress::Progress;

/// Between two questions: short at first, since edges that listen obey within milliseconds.
const SOON: Duration = Duration::from_millis(20);
const LATER: Duration = Duration::from_millis(250);
/// How long nobody may answer before the wait is given up: longer than an authority takes to start anew.
const AWAY: Duration = Duration::from_secs(120);

/// How a stop stands now. `of` is `key/ID`, `edge/ID`, `bundle`, or the name of a stop.
pub fn ask(admin: &AdminArgs, of: &str) -> Result<Value, Failure> {
    admin.call("POST", "/v1/fence", Some(&json!({"of": of})))
}

/// Waits until it is fenced; answers how it stands then. What was stopped is stopped, whether or not the authority can be
/// asked: one that is away for a while is asked again.
pub fn wait(admin: &AdminArgs, of: &str) -> Result<Value, Failure> {
    let target = admin.target()?;
    // What is wrong here at home does not get better by waiting.
    target.roots()?;
    let runtime = runtime()?;
    let body = json!({"of": of});
    let asked = || match runtime.block_on(target.send("POST", "/v1/fence", Some(&body))) {
        Ok((status, answer)) if (200..300).contains(&status) => Ok(Asked::Told(answer)),
        Ok((status @ 502..=504, answer)) => Ok(Asked::Away(Failure::new(describe(status, &answer)))),
        Ok((status, answer)) => Err(Failure::new(describe(status, &answer))),
        Err(failure) => Ok(Asked::Away(failure)),
    };
    let mut progress = Progress::new("waiting for the last lease", "ms at most");
    let begun = Instant::now();
    until_fenced(asked, &mut progress, || begun.elapsed(), std::thread::sleep)
}

/// What came of a question.
enum Asked {
    Told(Value),
    /// Nobody answered, or somebody on the way: for now.
    Away(Failure),
}

/// Asks until the answer is that it is fenced, or nobody has answered for [`AWAY`]. `now` grows by what `sleep` is told.
fn until_fenced(
    mut ask: impl FnMut() -> Result<Asked, Failure>,
    progress: &mut Progress,
    now: impl Fn() -> Duration,
    mut sleep: impl FnMut(Duration),
) -> Result<Value, Failure> {
    let (mut longest, mut pause, mut heard) = (0, SOON, now());
    loop {
        match ask()? {
            Asked::Told(answer) if is_fenced(&answer) => return Ok(answer),
            Asked::Told(answer) => {
                heard = now();
                let left = answer.get("left_ms").and_then(Value::as_u64).unwrap_or(0);
                longest = left.max(longest);
                progress.tell(longest.saturating_sub(left), longest);
            }
            Asked::Away(failure) if now().saturating_sub(heard) >= AWAY => {
                return Err(failure.after(
                    "the authority has not answered for two minutes; what was stopped stays stopped, ask again",
                ));
            }
            Asked::Away(failure) => {
                progress.say(&format!("the authority does not answer, it is asked again: {failure}"))
            }
        }
        sleep(pause);
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Asks with these answers, the last again and again; how it ended, and after how long.
    fn waited(answers: Vec<fn() -> Result<Asked, Failure>>) -> (Result<Value, Failure>, Duration) {
        let (clock, mut answers) = (Cell::new(Duration::ZERO), answers.into_iter());
        let mut last: fn() -> Result<Asked, Failure> = away;
        let ask = || {
            last = answers.next().unwrap_or(last);
            last()
        };
        let mut progress = Progress::new("testing", "ms");
        let sleep = |pause| clock.set(clock.get().saturating_add(pause));
        let ended = until_fenced(ask, &mut progress, || clock.get(), sleep);
        (ended, clock.get())
    }

    fn away() -> Result<Asked, Failure> {
        Ok(Asked::Away(Failure::new("connection refused")))
    }

    fn fenced() -> Result<Asked, Failure> {
        Ok(Asked::Told(json!({"fenced": true})))
    }

    #[test]
    fn an_authority_that_is_away_for_a_while_is_asked_again() {
        let waits = || Ok(Asked::Told(json!({"fenced": false, "left_ms": 5})));
        let (ended, _) = waited(vec![away, waits, away, away, fenced]);
        assert!(is_fenced(&ended.unwrap()));
        let (ended, after) = waited(vec![away]);
        assert!(
            ended
                .unwrap_err()
                .to_string()
                .ends_with("stays stopped, ask again: connection refused")
        );
        assert!((AWAY..AWAY.saturating_add(LATER)).contains(&after), "{after:?}");
    }

    #[test]
    fn what_the_authority_refuses_is_not_asked_again() {
        let (ended, after) = waited(vec![|| Err(Failure::new("403 forbidden")), fenced]);
        assert_eq!((ended.is_err(), after), (true, Duration::ZERO));
    }
}
