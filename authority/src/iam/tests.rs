//! Runs the tables under `cases/`.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::*;

const ACCOUNT: &str = "111122223333";
const KEY: &str = "arn:aws:kms:local:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const ALICE: &str = "arn:aws:iam::111122223333:user/alice";

/// Every table of a folder, by its file's name.
fn tables<T: DeserializeOwned>(folder: &str) -> Vec<(String, T)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/iam/cases").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|file| {
            let text = fs::read_to_string(&file).unwrap();
            let table = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            (file.file_name().unwrap().to_string_lossy().into_owned(), table)
        })
        .collect()
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Given {
    Flag(bool),
    Number(i64),
    Text(String),
    Many(Vec<Given>),
}

fn context(given: &BTreeMap<String, Given>, time: Option<i64>) -> Context {
    fn values(given: &Given) -> Vec<Value> {
        match given {
            Given::Flag(flag) => vec![(*flag).into()],
            Given::Number(number) => vec![(*number).into()],
            Given::Text(text) => match text.parse::<IpAddr>() {
                Ok(address) => vec![address.into()],
                Err(_) => vec![text.clone().into()],
            },
            Given::Many(many) => many.iter().flat_map(values).collect(),
        }
    }
    let empty = time.map_or_else(Context::new, |time| Context::new().at(time));
    given
        .iter()
        .fold(empty, |context, (key, given)| context.with_all(key, values(given)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Conditions {
    #[serde(rename = "about")]
    _about: String,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    condition: Box<RawValue>,
    #[serde(default)]
    context: BTreeMap<String, Given>,
    time: Option<i64>,
    holds: Holds,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Holds {
    Yes,
    No,
    InDenyOnly,
}

/// What a statement with this effect and condition says to alice, where another statement allows her everything if it is a `Deny`.
fn says(effect: &str, condition: &RawValue, context: &Context) -> Decision {
    let about = format!(r#""Principal": {{"AWS": "{ALICE}"}}, "Action": "kms:*", "Resource": "*""#);
    let policy = format!(
        r#"{{"Version": "2012-10-17", "Statement": [
            {{"Sid": "tested", "Effect": "{effect}", {about}, "Condition": {condition}}},
            {{"Sid": "also", "Effect": "{}", {about}, "Condition": {{"Bool": {{"aws:PrincipalIsAWSService": {}}}}}}}]}}"#,
        if effect == "Deny" { "Allow" } else { "Deny" },
        effect == "Allow",
    );
    let document = Document::parse(&policy).unwrap_or_else(|fault| panic!("{condition}: {fault}"));
    let caller = Caller::new(ALICE, None).unwrap();
    document.decide(&Request {
        action: "kms:Encrypt",
        resource: KEY,
        caller: &caller,
        account: ACCOUNT,
        context,
    })
}

#[test]
fn conditions_hold_as_the_tables_say() {
    let mut wrong = String::new();
    let mut count = 0;
    let mut missing: Vec<&str> = operator::NAMES.iter().map(|(name, ..)| *name).collect();
    for (file, table) in tables::<Conditions>("conditions") {
        for row in table.rows {
            missing.retain(|name| !row.condition.get().contains(&format!("\"{name}\"")));
            let context = context(&row.context, row.time);
            let allowed = says("Allow", &row.condition, &context);
            let denied = says("Deny", &row.condition, &context);
            let sid = || vec!["tested".to_owned()];
            let fits = allowed
                == if row.holds == Holds::Yes {
                    Decision::Allow(sid())
                } else {
                    Decision::Silent
                }
                && denied
                    == if row.holds == Holds::No {
                        Decision::Allow(vec!["also".into()])
                    } else {
                        Decision::Deny(sid())
                    };
            if !fits {
                wrong += &format!("{file}: {} with {context:?}: {allowed:?}, {denied:?}\n", row.condition);
            }
            count += 1;
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(missing.is_empty(), "no row has {missing:?}");
    assert!(count >= 180, "only {count} rows were found");
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decisions {
    #[serde(rename = "about")]
    _about: String,
    policy: Box<RawValue>,
    requests: Vec<Asked>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    name: String,
    #[serde(default = "encrypt")]
    action: String,
    #[serde(default = "key")]
    resource: String,
    caller: String,
    role: Option<String>,
    #[serde(default)]
    context: BTreeMap<String, Given>,
    expect: Expected,
}

#[derive(Deserialize)]
enum Expected {
    Deny(Vec<String>),
    Allow(Vec<String>),
    Delegated(Vec<String>),
    Silent,
}

fn encrypt() -> String {
    "kms:Encrypt".to_owned()
}

fn key() -> String {
    KEY.to_owned()
}

#[test]
fn decisions_come_out_as_written() {
    let mut wrong = String::new();
    let mut count = 0;
    for (file, table) in tables::<Decisions>("decisions") {
        let document = Document::parse(table.policy.get()).unwrap_or_else(|fault| panic!("{file}: {fault}"));
        for asked in table.requests {
            let caller = Caller::new(&asked.caller, asked.role.as_deref()).unwrap();
            let found = document.decide(&Request {
                action: &asked.action,
                resource: &asked.resource,
                caller: &caller,
                account: ACCOUNT,
                context: &context(&asked.context, None),
            });
            let expected = match asked.expect {
                Expected::Deny(names) => Decision::Deny(names),
                Expected::Allow(names) => Decision::Allow(names),
                Expected::Delegated(names) => Decision::Delegated(names),
                Expected::Silent => Decision::Silent,
            };
            if found != expected {
                wrong += &format!("{file}: {}: {found:?}, not {expected:?}\n", asked.name);
            }
            count += 1;
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(count >= 60, "only {count} requests were found");
}

/// A document that is refused: all of it, or the one statement or condition of one that is right otherwise.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    policy: Option<Box<RawValue>>,
    statement: Option<Box<RawValue>>,
    condition: Option<Box<RawValue>>,
    fault: String,
}

impl Refused {
    fn text(&self) -> String {
        let statement = match (&self.policy, &self.statement, &self.condition) {
            (Some(policy), None, None) => return policy.get().to_owned(),
            (None, Some(statement), None) => statement.get().to_owned(),
            (None, None, Some(condition)) => format!(
                r#"{{"Sid": "one", "Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*", "Condition": {condition}}}"#
            ),
            _ => panic!("{}: needs one of policy, statement and condition", self.fault),
        };
        format!(r#"{{"Version": "2012-10-17", "Statement": [{statement}]}}"#)
    }
}

#[test]
fn what_is_wrong_is_refused_with_its_statement() {
    let mut wrong = String::new();
    let table: Vec<Refused> = tables::<Vec<Refused>>("refused")
        .into_iter()
        .flat_map(|(_, table)| table)
        .collect();
    for case in &table {
        let found = match Document::parse(&case.text()) {
            Ok(_) => "taken".to_owned(),
            Err(fault) => fault.to_string(),
        };
        if found != case.fault {
            wrong += &format!("- expected {}\n     found {found}\n", case.fault);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(table.len() >= 80, "only {} cases were found", table.len());
}

// KMS writes it so, and the text is what callers get back.
#[test]
fn the_default_is_written_as_kms_writes_it() {
    let text = Document::default_for(&Tenant::parse(ACCOUNT).unwrap());
    let as_returned = concat!(
        r#"{\n  \"Version\" : \"2012-10-17\",\n  \"Id\" : \"key-default-1\",\n  \"Statement\" : [ {\n"#,
        r#"    \"Sid\" : \"Enable IAM User Permissions\",\n    \"Effect\" : \"Allow\",\n    \"Principal\" : {\n"#,
        r#"      \"AWS\" : \"arn:aws:iam::111122223333:root\"\n    },\n    \"Action\" : \"kms:*\",\n    \"Resource\" : \"*\"\n"#,
        r#"  } ]\n}"#
    );
    assert_eq!(serde_json::to_string(&text).unwrap(), format!("\"{as_returned}\""));
    assert_eq!(Document::parse(&text).unwrap().statements.len(), 1);
}

fn locks_out(policy: &str, caller: &str) -> bool {
    let caller = Caller::new(caller, None).unwrap();
    !Document::parse(policy).unwrap().permits_put_key_policy(&Request {
        action: "kms:CreateKey",
        resource: KEY,
        caller: &caller,
        account: ACCOUNT,
        context: &Context::new(),
    })
}

#[test]
fn a_policy_that_locks_its_author_out_is_found() {
    let default = Document::default_for(&Tenant::parse(ACCOUNT).unwrap());
    let other = "arn:aws:iam::111122223333:user/bob";
    let of = |effect: &str, action: &str, rest: &str| {
        format!(
            r#"{{"Effect": "{effect}", "Principal": {{"AWS": "{ALICE}"}}, "Action": "{action}", "Resource": "*"{rest}}}"#
        )
    };
    let with = |statements: &[String]| format!(r#"{{"Statement": [{}]}}"#, statements.join(","));
    assert!(!locks_out(&default, ALICE) && !locks_out(&default, other));
    assert!(locks_out(&default, "arn:aws:iam::444455556666:user/alice"));
    let alice = of("Allow", "kms:Put*", "");
    assert!(!locks_out(&with(std::slice::from_ref(&alice)), ALICE));
    assert!(locks_out(&with(std::slice::from_ref(&alice)), other));
    assert!(locks_out(&with(&[of("Allow", "kms:CreateKey", "")]), ALICE));
    assert!(locks_out(&with(&[alice, of("Deny", "kms:PutKeyPolicy", "")]), ALICE));
    let never = r#", "Condition": {"DateLessThan": {"aws:CurrentTime": "2000-01-01"}}"#;
    assert!(locks_out(&with(&[of("Allow", "kms:*", never)]), ALICE));
}

#[test]
fn documents_are_bounded() {
    let default = Document::default_for(&Tenant::parse(ACCOUNT).unwrap());
    let padded = |bytes: usize| format!("{default}{}", " ".repeat(bytes - default.len()));
    assert!(Document::parse(&padded(MAX_BYTES)).is_ok());
    let fault = Document::parse(&padded(MAX_BYTES + 1)).unwrap_err();
    assert_eq!(
        fault.message,
        "a key policy has at most 32768 bytes, this one has 32769"
    );
    // Two bytes each in UTF-8.
    let wide = default.replace("key-default-1", &"é".repeat(MAX_BYTES / 2));
    assert!(Document::parse(&wide).is_err());
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(
        Document::parse(&deep)
            .unwrap_err()
            .message
            .starts_with("not JSON: recursion limit exceeded")
    );
}

#[test]
fn characters_are_kms_s() {
    let default = Document::default_for(&Tenant::parse(ACCOUNT).unwrap());
    for good in ['ÿ', '~', '\u{80}'] {
        assert!(
            Document::parse(&default.replace("key-default-1", &good.to_string())).is_ok(),
            "{good:?}"
        );
    }
    assert!(Document::parse(&default.replace('\n', "\r\n\t")).is_ok());
    for (bad, name) in [
        ('Ā', "U+0100"),
        ('\u{b}', "U+000B"),
        ('\u{feff}', "U+FEFF"),
        ('😀', "U+1F600"),
    ] {
        let fault = Document::parse(&format!("{bad}{default}")).unwrap_err();
        assert!(fault.message.ends_with(&format!("not {name}")), "{fault}");
    }
}

// A document at its bound, all of one pattern that a matcher could get lost in.
#[test]
fn the_worst_pattern_is_decided_at_once() {
    let pattern = "*a".repeat(16_000);
    let policy = format!(
        r#"{{"Statement": {{"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*", "Condition": {{"StringLike": {{"aws:UserAgent": "{pattern}b"}}}}}}}}"#
    );
    let document = Document::parse(&policy).unwrap();
    let caller = Caller::new(ALICE, None).unwrap();
    let decision = document.decide(&Request {
        action: "kms:Encrypt",
        resource: KEY,
        caller: &caller,
        account: ACCOUNT,
        context: &Context::new().with("aws:UserAgent", "a".repeat(512)),
    });
    assert_eq!(decision, Decision::Silent);
}

#[test]
fn an_encryption_context_gives_pairs_and_keys() {
    let context = Context::new().encryption_context([("App", "x"), ("Stage", "y")]);
    let by_hand = Context::new()
        .with("kms:EncryptionContext:Stage", "y")
        .with("KMS:encryptioncontext:APP", "x")
        .with_all("kms:EncryptionContextKeys", ["App", "Stage"]);
    assert_eq!(context, by_hand);
    assert_eq!(
        Context::new().with_all("aws:TagKeys", Vec::<String>::new()),
        Context::new()
    );
}

/// Every policy of the tables, as text.
fn policies() -> Vec<String> {
    let whole = tables::<Decisions>("decisions")
        .into_iter()
        .map(|(_, table)| table.policy.get().to_owned());
    let refused = tables::<Vec<Refused>>("refused")
        .into_iter()
        .flat_map(|(_, table)| table.iter().map(Refused::text).collect::<Vec<_>>());
    whole.chain(refused).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    // Whatever is written, reading it ends, and so does deciding what could be read.
    #[test]
    fn broken_documents_are_read_without_harm(
        which in any::<prop::sample::Index>(),
        from in any::<prop::sample::Index>(),
        length in 0_usize..12,
        put in r#"[{}\[\]":,*?$'0-9a-z/ é-]{0,6}"#,
    ) {
        thread_local! {
            static ALL: Vec<String> = policies();
        }
        let text = ALL.with(|all| which.get(all).clone());
        let chars: Vec<char> = text.chars().collect();
        let start = from.index(chars.len());
        let rest = chars.iter().skip(start + length);
        let broken: String = chars.iter().take(start).copied().chain(put.chars()).chain(rest.copied()).collect();
        if let Ok(document) = Document::parse(&broken) {
            let caller = Caller::new(ALICE, None).unwrap();
            let context = Context::new().at(1_893_456_000).encryption_context([("a", "b")]);
            let request = Request { action: "kms:Encrypt", resource: KEY, caller: &caller, account: ACCOUNT, context: &context };
            prop_assert_eq!(document.decide(&request), document.decide(&request));
        }
    }
}
