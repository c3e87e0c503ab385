//! Rules of the world `rule-batch`, called through the runtime: what the requests of one batch share, and what they do not.

use std::sync::atomic::Ordering;

use runtime::{Argument, Caller, Payload, Plugin, PluginSource, Protocol, Request, RuleError, TokenRequest, Verdict};
use serde_json::{Value, json};

use super::*;
use crate::plugin::{component, runner};

const MANIFEST: &str = "name = \"rule\"\nlang = \"js\"\nworld = \"signet:rule/rule-batch@1.2.0\"\n";

/// Each under the subject that asks for it.
const RULE: &str = r#"
const no = { code: "no", message: "no" };
const none = { claims: [] };
let calls = 0;
let reject;

const answers = {
  count: () => ({ lifetimeCap: calls, claims: [["calls", { tag: "int", val: calls }], ["who", { tag: "texts", val: ["Zoë", "\ud83d\ude00"] }]] }),
  clock: ({ time }) => ({ claims: [["clock", { tag: "boolean", val: Date.now() === Number(time) * 1000 }], ["now", { tag: "int", val: Date.now() }]] }),
  claims: ({ payload: { val: { claims } } }) => ({ claims: claims.slice(0, 1) }),
  refuse: () => {
    throw no;
  },
  refuse_later: async () => {
    await null;
    throw no;
  },
  caught: () => {
    Promise.reject(no).catch(() => {});
    return none;
  },
  lost: () => {
    Promise.reject(no);
    return none;
  },
  // Kept, and rejected by a later request of the batch.
  keep: () => {
    new Promise((_, rejects) => (reject = rejects));
    return none;
  },
  reject: () => {
    reject?.(no);
    return none;
  },
  second: () => {
    if (calls > 1) {
      throw new Error("not alone");
    }
    return none;
  },
  dull: () => none,
};

export const evaluate = (request) => {
  calls += 1;
  return answers[request.payload.val.subject](request);
};
"#;

fn directory(manifest: &str) -> tempfile::TempDir {
    let dir = tempfile::TempDir::new().unwrap();
    std::fs::write(dir.path().join("plugin.toml"), manifest).unwrap();
    std::fs::write(dir.path().join(FILE), RULE).unwrap();
    dir
}

fn built(manifest: &str) -> Vec<u8> {
    let dir = directory(manifest);
    let manifest = Manifest::read(dir.path()).unwrap();
    component::encode(build(dir.path(), &manifest).unwrap(), manifest.world).unwrap()
}

/// With so many bytes of memory.
fn loaded(memory: usize) -> Plugin {
    let source = PluginSource {
        memory,
        ..runner::granted("rule", built(MANIFEST))
    };
    runner::host().unwrap().load(source).unwrap()
}

fn request<'a>(subject: &'a str, time: u64, claims: Vec<(&'a str, Argument<'a>)>) -> Request<'a> {
    Request {
        profile: "web",
        key: "5f0c1b52-6a0e-4c1e-9c9b-0d1f5a4b7c11",
        format: "jwt",
        tenant: "000000000001",
        caller: Caller {
            id: "oidc:https://ci.example#build",
            kind: "oidc",
            issuer: "https://ci.example",
            subject: "build",
            attributes: vec![],
        },
        payload: Payload::Token(TokenRequest {
            subject: Some(subject),
            audience: vec!["https://api.example"],
            lifetime: 300,
            claims,
        }),
        time,
        request_id: "2c1d8f1e-7a57-4f0c-8a55-6a2c8a0f3c10",
        trace_id: None,
        source_address: "192.0.2.7",
        protocol: Protocol::Http2,
    }
}

fn told(outcome: &Result<Verdict, RuleError>) -> Value {
    match outcome {
        Ok(verdict) => json!({"cap": verdict.lifetime_cap, "claims": verdict.claims}),
        Err(RuleError::Refused { code, message }) => json!([code, message]),
        Err(RuleError::Failed { kind, .. }) => json!(kind.as_str()),
    }
}

/// What one call about these comes to.
fn together(plugin: &Plugin, requests: &[Request<'_>]) -> Value {
    let tasks = tokio::runtime::Builder::new_current_thread().build().unwrap();
    match tasks.block_on(plugin.evaluate_batch(requests)) {
        Ok(outcomes) => outcomes.iter().map(told).collect(),
        Err(failed) => told(&Err(failed)),
    }
}

/// What a call about each comes to.
fn alone(plugin: &Plugin, requests: &[Request<'_>]) -> Value {
    let tasks = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let one = |request| told(&tasks.block_on(plugin.evaluate(request)));
    requests.iter().map(one).collect()
}

fn of(subjects: &[&'static str]) -> Vec<Request<'static>> {
    subjects.iter().map(|subject| request(subject, 1, vec![])).collect()
}

#[test]
fn requests_of_a_batch_share_what_the_rules_modules_keep_and_no_other_call_does() {
    let plugin = loaded(4 << 20);
    let counted = |calls: u32| json!({"cap": calls, "claims": [["calls", calls], ["who", ["Zoë", "😀"]]]});
    let no = json!(["no", "no"]);
    let requests = of(&["count", "refuse", "count", "refuse_later", "count"]);
    for _ in 0..2 {
        let answers = json!([counted(1), no, counted(3), no, counted(5)]);
        assert_eq!(together(&plugin, &requests), answers);
        assert_eq!(
            alone(&plugin, &requests),
            json!([counted(1), no, counted(1), no, counted(1)])
        );
    }
    let at = |time| request("clock", time, vec![]);
    let clock = |time: u64| json!({"cap": null, "claims": [["clock", true], ["now", time * 1000]]});
    let times = [at(1_800_000_000), at(7), at(1_800_000_001)];
    assert_eq!(
        together(&plugin, &times),
        json!([clock(1_800_000_000), clock(7), clock(1_800_000_001)])
    );
}

#[test]
fn what_is_thrown_by_one_fails_the_batch_and_what_it_awaited_is_nothing_to_the_next() {
    let plugin = loaded(4 << 20);
    let none = json!({"cap": null, "claims": []});
    for (subjects, of_batch, of_each) in [
        (["caught", "dull"], json!([none, none]), json!([none, none])),
        (
            ["refuse_later", "dull"],
            json!([["no", "no"], none]),
            json!([["no", "no"], none]),
        ),
        (["lost", "dull"], json!("trap"), json!(["trap", none])),
        (["dull", "lost"], json!("trap"), json!([none, "trap"])),
        (["keep", "dull"], json!([none, none]), json!([none, none])),
        (["keep", "reject"], json!("trap"), json!([none, none])),
        (["second", "second"], json!("trap"), json!([none, none])),
    ] {
        let requests = of(&subjects);
        assert_eq!(together(&plugin, &requests), of_batch, "{subjects:?}");
        assert_eq!(alone(&plugin, &requests), of_each, "{subjects:?}");
    }
}

/// The host writes all requests of a batch into the memory at once; the engine has values of one of them at a time.
#[test]
fn a_request_of_a_batch_has_the_memory_of_the_one_before_it() {
    let text = "x".repeat(64 << 10);
    let large = |subject| {
        let claims = ["a", "b"].map(|name| (name, Argument::Text(&text)));
        request(subject, 1, claims.to_vec())
    };
    for subject in ["dull", "refuse_later"] {
        let requests: Vec<_> = (0..runtime::MAX_BATCH).map(|_| large(subject)).collect();
        // 2 MiB of requests, and what the engine begins with.
        let plugin = loaded(3 << 20);
        let answers = together(&plugin, &requests);
        assert_eq!(
            answers.as_array().map(Vec::len),
            Some(requests.len()),
            "{subject}: {answers}"
        );
    }
    let small: Vec<_> = (0..runtime::MAX_BATCH).map(|_| request("count", 1, vec![])).collect();
    let plugin = loaded(4 << 20);
    let peak = || plugin.metrics().memory_peak.load(Ordering::Relaxed);
    alone(&plugin, &small);
    let one = peak();
    together(&plugin, &small);
    assert!(peak() <= one + (256 << 10), "{one} bytes alone, {} in a batch", peak());
}

#[test]
fn a_rule_of_another_world_exports_no_batch() {
    for (manifest, exports) in [
        (MANIFEST.to_owned(), vec!["evaluate", "evaluate-batch"]),
        (MANIFEST.replace("rule-batch@1.2.0", "rule@1.1.0"), vec!["evaluate"]),
    ] {
        assert_eq!(component::shape(&built(&manifest)).exports, exports);
    }
}
