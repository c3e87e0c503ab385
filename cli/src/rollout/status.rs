//! What `signet rollout status` shows.

use serde_json::Value;

use super::{number, short, word};
use crate::failure::Failure;

/// The rollouts of an answer, of one plugin or of all.
pub(super) fn of(answer: &Value, plugin: Option<&str>) -> Result<Vec<Value>, Failure> {
    let all = answer.get("rollouts").and_then(Value::as_array).into_iter().flatten();
    let wanted = all.filter(|rollout| plugin.is_none_or(|name| word(rollout, "plugin") == name));
    let wanted: Vec<Value> = wanted.cloned().collect();
    match plugin {
        Some(name) if wanted.is_empty() => Err(Failure::new(format!(
            "there is no rollout of `{name:.64}`; `signet rollout status` lists them all"
        ))),
        _ => Ok(wanted),
    }
}

/// How many calls of the new version edges have reported.
pub(super) fn calls(rollout: &Value) -> u64 {
    rollout.get("candidate").map_or(0, |calls| number(calls, "calls"))
}

/// For people.
pub(super) fn text(rollouts: &[Value]) -> String {
    if rollouts.is_empty() {
        return "no rollouts; `signet rollout start PLUGIN --file NEW.wasm` begins one\n".to_owned();
    }
    rollouts.iter().map(one).collect::<Vec<_>>().join("\n")
}

fn one(rollout: &Value) -> String {
    let mut text = format!("{}: {}\n", word(rollout, "plugin"), stage(rollout));
    text.push_str(&format!(
        "  since {} by {}, started {} by {}\n",
        word(rollout, "changed_at"),
        word(rollout, "changed_by"),
        word(rollout, "started_at"),
        word(rollout, "started_by"),
    ));
    for (name, digest, member) in [
        ("current", "current_sha256", "current"),
        ("new", "candidate_sha256", "candidate"),
    ] {
        let calls = rollout.get(member).cloned().unwrap_or_default();
        text.push_str(&format!(
            "  {name:<8} {}  {}\n",
            short(rollout, digest),
            calls_text(&calls)
        ));
    }
    for (kind, count) in rollout
        .get("differences")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        text.push_str(&format!(
            "  {:<21} {}\n",
            format!("differs: {kind}"),
            count.as_u64().unwrap_or(0)
        ));
        let samples = rollout.get("samples").and_then(Value::as_array).into_iter().flatten();
        for sample in samples.filter(|sample| word(sample, "kind") == kind.as_str()) {
            text.push_str(&format!(
                "    {} {}: {} -> {} ({})\n",
                word(sample, "time"),
                word(sample, "profile"),
                word(sample, "current"),
                word(sample, "candidate"),
                word(sample, "request_id"),
            ));
        }
    }
    let edges: Vec<&Value> = rollout
        .get("edges")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .collect();
    if word(rollout, "stage") != "enforced" {
        text.push_str(&format!("  edges that have reported: {}\n", edges.len()));
    }
    for edge in edges {
        if let Some(why) = edge.get("stopped").and_then(Value::as_str) {
            text.push_str(&format!("    {} stopped: {why}\n", word(edge, "edge")));
        }
    }
    text
}

fn stage(rollout: &Value) -> String {
    let stage = word(rollout, "stage");
    let reason = rollout
        .get("reason")
        .and_then(Value::as_str)
        .filter(|reason| !reason.is_empty());
    let in_force = rollout.get("in_force").and_then(Value::as_bool);
    if stage == "enforced" && in_force == Some(false) {
        return "enforced, and replaced by a bundle since".to_owned();
    }
    match (rollout.get("next").and_then(Value::as_u64), reason) {
        (Some(next), _) => format!("{stage}, next {next}%"),
        (None, Some(reason)) => format!("{stage} ({reason})"),
        (None, None) => stage.to_owned(),
    }
}

fn calls_text(calls: &Value) -> String {
    let took = |name: &str| {
        calls
            .get(name)
            .and_then(Value::as_u64)
            .map_or_else(|| "-".to_owned(), time)
    };
    format!(
        "{} calls: {} allowed, {} refused, {} failed; median {}, p99 {}",
        number(calls, "calls"),
        number(calls, "allowed"),
        number(calls, "refused"),
        number(calls, "failed"),
        took("median_us"),
        took("p99_us"),
    )
}

/// Microseconds, for people.
pub(super) fn time(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} us"),
        _ => {
            let (whole, tenth) = (micros / 1_000, micros % 1_000 / 100);
            if tenth == 0 {
                format!("{whole} ms")
            } else {
                format!("{whole}.{tenth} ms")
            }
        }
    }
}
