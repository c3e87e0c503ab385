//! What two versions of a rule said to the same requests: counts, and examples of each kind of change. No values of claims.

use std::collections::{BTreeMap, VecDeque};

use policies::rollout::Answer;
use runtime::Request;
use runtime::sample::Told;
use serde_json::{Value, json};

use crate::output;

/// The new version gives no answer where the other one did: such requests are refused.
const NEWLY_FAILED: &str = "newly_failed";
/// The new version answers where the other one gave none.
const NO_LONGER_FAILED: &str = "no_longer_failed";
/// Longest word of a sample that is shown.
const MAX_WORD: usize = 80;

/// What the other version said.
#[derive(Debug)]
pub struct Seen {
    answer: Answer,
    text: String,
    /// Of claims, only their names are known.
    names_only: bool,
}

impl Seen {
    /// It was asked as well.
    pub fn of(answer: Answer) -> Seen {
        Seen {
            text: answer.describe(),
            answer,
            names_only: false,
        }
    }

    /// An edge asked it, and the sample has what it said.
    pub fn told(told: &Told) -> Seen {
        let (answer, text) = match told {
            Told::Allowed { cap, claims } => {
                let claims = claims.iter().map(|name| (name.clone(), Value::Null)).collect();
                (Answer::Allowed { cap: *cap, claims }, None)
            }
            Told::Refused(code) => (Answer::Refused(code.clone()), None),
            Told::Failed(kind) => (Answer::Failed("at_the_edge"), Some(format!("fail {kind}"))),
        };
        Seen {
            text: plain(&text.unwrap_or_else(|| answer.describe())),
            answer,
            names_only: true,
        }
    }
}

/// One request about which the versions differ.
#[derive(Debug)]
struct Example {
    time: u64,
    profile: String,
    request_id: String,
    before: String,
    after: String,
}

/// All of one kind.
#[derive(Debug, Default)]
struct Kind {
    count: u64,
    /// The newest.
    examples: VecDeque<Example>,
}

/// What would change.
#[derive(Debug)]
pub struct Changes {
    plugin: String,
    is_asked: bool,
    most: usize,
    left_out: usize,
    samples: u64,
    same: u64,
    first: Option<u64>,
    last: Option<u64>,
    kinds: BTreeMap<&'static str, Kind>,
}

impl Changes {
    /// Nothing seen yet. `is_asked`: the other version is asked as well. `most`: how many examples of a kind are kept. `left_out`:
    /// batches of samples that could not be read.
    pub fn new(plugin: &str, is_asked: bool, most: usize, left_out: usize) -> Changes {
        Changes {
            plugin: plugin.to_owned(),
            is_asked,
            most,
            left_out,
            samples: 0,
            same: 0,
            first: None,
            last: None,
            kinds: BTreeMap::new(),
        }
    }

    /// How many were compared.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// About how many of them the versions differ.
    pub fn changed(&self) -> u64 {
        self.samples.saturating_sub(self.same)
    }

    /// Counts what both said to a request; later requests come later.
    pub fn compare(&mut self, request: &Request<'_>, before: &Seen, after: Answer) {
        let text = after.describe();
        let after = if before.names_only { names_of(after) } else { after };
        self.samples = self.samples.saturating_add(1);
        self.first.get_or_insert(request.time);
        self.last = Some(request.time);
        let Some(kind) = change(&before.answer, &after) else {
            self.same = self.same.saturating_add(1);
            return;
        };
        let kind = self.kinds.entry(kind).or_default();
        kind.count = kind.count.saturating_add(1);
        kind.examples.push_back(Example {
            time: request.time,
            profile: plain(request.profile),
            request_id: plain(request.request_id),
            before: before.text.clone(),
            after: text,
        });
        if kind.examples.len() > self.most {
            kind.examples.pop_front();
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let time = |time: Option<u64>| time.map(output::time).unwrap_or_default();
        let compared = match self.is_asked {
            true => "with the other version, asked about the same samples",
            false => "with what edges decided, who saw the values that are redacted in samples",
        };
        let mut text = format!(
            "samples   {} of `{}`, {} to {}\ncompared  {compared}\nsame      {}\n",
            self.samples,
            self.plugin,
            time(self.first),
            time(self.last),
            self.same
        );
        if self.left_out > 0 {
            text.push_str(&format!(
                "left out  {} batches that this key does not open, or that are damaged or of another version\n",
                self.left_out
            ));
        }
        for (name, kind) in &self.kinds {
            text.push_str(&format!("\n{name}  {}\n", kind.count));
            for example in &kind.examples {
                text.push_str(&format!(
                    "  {}  {}  {}  {} -> {}\n",
                    output::time(example.time),
                    example.profile,
                    example.request_id,
                    example.before,
                    example.after
                ));
            }
        }
        if self.kinds.is_empty() {
            text.push_str("\nnothing would change\n");
        }
        text
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let shape = |example: &Example| {
            json!({
                "time": output::time(example.time), "profile": example.profile, "request_id": example.request_id,
                "before": example.before, "after": example.after,
            })
        };
        let counts: BTreeMap<_, _> = self.kinds.iter().map(|(name, kind)| (*name, kind.count)).collect();
        let examples: BTreeMap<_, Vec<_>> = self
            .kinds
            .iter()
            .map(|(name, kind)| (*name, kind.examples.iter().map(shape).collect()))
            .collect();
        json!({
            "plugin": self.plugin, "samples": self.samples, "same": self.same, "batches_left_out": self.left_out,
            "compared_with": if self.is_asked { "version" } else { "edges" },
            "first": self.first.map(output::time), "last": self.last.map(output::time),
            "changes": counts, "examples": examples,
        })
    }
}

/// A word of a sample as it is shown: whoever sealed one may have put into it what would move a terminal's cursor.
pub fn plain(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_graphic() || letter == ' ';
    let letters = word.chars().take(MAX_WORD);
    letters
        .map(|letter| if is_plain(letter) { letter } else { '?' })
        .collect()
}

fn change(before: &Answer, after: &Answer) -> Option<&'static str> {
    match (before, after) {
        (Answer::Failed(_), Answer::Failed(_)) => None,
        (_, Answer::Failed(_)) => Some(NEWLY_FAILED),
        (Answer::Failed(_), _) => Some(NO_LONGER_FAILED),
        _ => before.differs(after).map(|difference| difference.as_str()),
    }
}

fn names_of(answer: Answer) -> Answer {
    match answer {
        Answer::Allowed { cap, claims } => Answer::Allowed {
            cap,
            claims: claims.into_keys().map(|name| (name, Value::Null)).collect(),
        },
        other => other,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use runtime::{ArtifactForm, ArtifactRequest, Caller, Payload, Protocol};

    pub(in crate::plugin) fn request(time: u64) -> Request<'static> {
        Request {
            profile: "api",
            key: "key",
            format: "der",
            tenant: "000000000001",
            caller: Caller {
                id: "id",
                kind: "oidc",
                issuer: "issuer",
                subject: "subject",
                attributes: Vec::new(),
            },
            payload: Payload::Artifact(ArtifactRequest {
                form: ArtifactForm::Digest,
                algorithm: "sha256",
                digest: &[0; 32],
            }),
            time,
            request_id: "the-id",
            trace_id: None,
            source_address: "0.0.0.0",
            protocol: Protocol::Http2,
        }
    }

    fn allowed(cap: Option<u32>, plan: Option<&str>) -> Answer {
        let claims = plan.map(|plan| ("plan".to_owned(), json!(plan))).into_iter().collect();
        Answer::Allowed { cap, claims }
    }

    fn told(cap: Option<u32>, claims: &[&str]) -> Told {
        let claims = claims.iter().map(|name| (*name).to_owned()).collect();
        Told::Allowed { cap, claims }
    }

    #[test]
    fn each_kind_of_change_is_counted() {
        let mut changes = Changes::new("rule", false, 5, 0);
        let refused = |code: &str| Answer::Refused(code.to_owned());
        let cases = [
            (told(Some(60), &["plan"]), allowed(Some(60), Some("any")), None),
            (told(None, &[]), refused("late"), Some("newly_refused")),
            (Told::Refused("late".into()), allowed(None, None), Some("newly_allowed")),
            (Told::Refused("late".into()), refused("later"), Some("code")),
            (Told::Refused("late".into()), refused("late"), None),
            (told(Some(60), &[]), allowed(Some(61), None), Some("lifetime")),
            (told(None, &["role"]), allowed(None, Some("any")), Some("claims")),
            (told(None, &[]), Answer::Failed("trap"), Some("newly_failed")),
            (
                Told::Refused("late".into()),
                Answer::Failed("trap"),
                Some("newly_failed"),
            ),
            (
                Told::Failed("trap".into()),
                allowed(None, None),
                Some("no_longer_failed"),
            ),
            (Told::Failed("trap".into()), Answer::Failed("timeout"), None),
        ];
        let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
        for (before, after, kind) in cases {
            changes.compare(&request(7), &Seen::told(&before), after);
            if let Some(kind) = kind {
                *expected.entry(kind).or_default() += 1;
            }
        }
        let json = changes.json();
        assert_eq!((&json["samples"], &json["same"]), (&json!(11), &json!(3)));
        assert_eq!(changes.changed(), 8);
        assert_eq!(json["changes"], json!(expected));
        assert_eq!(json["examples"]["no_longer_failed"][0]["before"], "fail trap");
    }

    #[test]
    fn two_versions_that_were_asked_are_compared_by_their_claims_values() {
        let mut changes = Changes::new("rule", true, 5, 0);
        changes.compare(
            &request(7),
            &Seen::of(allowed(None, Some("free"))),
            allowed(None, Some("paid")),
        );
        assert_eq!(changes.json()["changes"], json!({"claims": 1}));
        let text = changes.text();
        assert!(!text.contains("free") && !text.contains("paid"), "{text}");
    }

    #[test]
    fn the_newest_examples_are_kept_and_all_are_counted() {
        let mut changes = Changes::new("rule", false, 2, 3);
        for time in 1..=5 {
            changes.compare(
                &request(time),
                &Seen::told(&told(None, &[])),
                Answer::Refused("late".into()),
            );
        }
        let text = changes.text();
        assert!(
            text.contains("newly_refused  5") && text.contains("allow -> refuse late"),
            "{text}"
        );
        assert!(text.contains("1970-01-01T00:00:04Z  api  the-id"), "{text}");
        assert_eq!(text.matches("the-id").count(), 2, "{text}");
        assert!(text.contains("\nleft out  3 batches"), "{text}");
        let mut same = Changes::new("rule", false, 2, 0);
        same.compare(&request(1), &Seen::told(&told(None, &[])), allowed(None, None));
        let text = same.text();
        assert!(
            text.contains("nothing would change") && !text.contains("left out"),
            "{text}"
        );
    }

    #[test]
    fn what_an_edge_made_up_moves_no_cursor() {
        let mut changes = Changes::new("rule", false, 5, 0);
        let (long, escape) = ("x".repeat(500), "a\u{1b}[2J\r\n\u{202e}");
        let request = Request {
            profile: escape,
            request_id: &long,
            ..request(u64::MAX)
        };
        let told = Told::Refused(escape.to_owned());
        changes.compare(&request, &Seen::told(&told), allowed(None, None));
        let text = changes.text();
        assert!(
            text.contains("a?[2J???") && !text.contains(['\u{1b}', '\r', '\u{202e}']),
            "{text}"
        );
        assert!(text.len() < 600, "{text}");
    }
}
