//! What each operation takes, from the public service model, and the check of a request against it.
//!
//! `model.json` beside this file is made by `scripts/kms-model`; a test with the real client's own model compares them.

mod check;
mod pattern;

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use serde::Deserialize;

use self::pattern::Pattern;

pub(super) use self::check::Rejected;

/// The operations, parsed once.
#[expect(clippy::expect_used, reason = "the text is compiled in; a test parses it")]
static MODEL: LazyLock<BTreeMap<String, Operation>> =
    LazyLock::new(|| parse(include_str!("model.json")).expect("the model compiled in parses"));

/// One operation's input.
#[derive(Debug)]
pub(super) struct Operation {
    name: String,
    input: Vec<Member>,
}

/// The operation of this name.
pub(super) fn operation(name: &str) -> Option<&'static Operation> {
    MODEL.get(name)
}

impl Operation {
    /// As `X-Amz-Target` has it, without the prefix.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

#[derive(Debug)]
struct Member {
    /// `KeyId`
    name: String,
    /// `keyId`, as errors name it.
    shown: String,
    required: bool,
    shape: Shape,
}

#[derive(Debug)]
struct Shape {
    kind: Kind,
    /// Least and most: characters, bytes, elements, or the number itself.
    min: Option<i64>,
    max: Option<i64>,
    /// Its value is not repeated in errors.
    sensitive: bool,
}

#[derive(Debug)]
enum Kind {
    Text {
        pattern: Option<Pattern>,
        one_of: Option<Vec<String>>,
    },
    Blob,
    Integer,
    Boolean,
    /// Seconds since 1970, with or without a fraction.
    Timestamp,
    List(Box<Shape>),
    Map(Box<Shape>, Box<Shape>),
    Structure(Vec<Member>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawModel {
    operations: BTreeMap<String, Vec<String>>,
    shapes: HashMap<String, RawShape>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawShape {
    #[serde(rename = "type")]
    kind: String,
    min: Option<i64>,
    max: Option<i64>,
    pattern: Option<String>,
    #[serde(rename = "enum")]
    one_of: Option<Vec<String>>,
    #[serde(default)]
    sensitive: bool,
    member: Option<String>,
    key: Option<String>,
    value: Option<String>,
    #[serde(default)]
    members: Vec<String>,
}

/// Shapes within shapes: the model's own are three deep.
const MAX_DEPTH: usize = 8;

fn parse(text: &str) -> Result<BTreeMap<String, Operation>, String> {
    let raw: RawModel = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let operations = raw.operations.iter().map(|(name, members)| {
        let input = raw.members(members, 0)?;
        let name = name.clone();
        Ok((name.clone(), Operation { name, input }))
    });
    operations.collect()
}

impl RawModel {
    /// `Name Shape`, or `Name! Shape` for one that must be there.
    fn members(&self, lines: &[String], depth: usize) -> Result<Vec<Member>, String> {
        let member = |line: &String| {
            let (name, shape) = line.split_once(' ').ok_or_else(|| format!("`{line}` is no member"))?;
            let bare = name.trim_end_matches('!');
            Ok(Member {
                name: bare.to_owned(),
                shown: lower_camel(bare),
                required: bare != name,
                shape: self.shape(shape, depth.saturating_add(1))?,
            })
        };
        lines.iter().map(member).collect()
    }

    fn shape(&self, name: &str, depth: usize) -> Result<Shape, String> {
        if depth > MAX_DEPTH {
            return Err(format!("the shape `{name}` is nested too deep"));
        }
        let raw = self
            .shapes
            .get(name)
            .ok_or_else(|| format!("there is no shape `{name}`"))?;
        let part = |part: &Option<String>| {
            let part = part
                .as_deref()
                .ok_or_else(|| format!("the shape `{name}` lacks a part"))?;
            self.shape(part, depth.saturating_add(1)).map(Box::new)
        };
        let kind = match raw.kind.as_str() {
            "string" => Kind::Text {
                pattern: raw.pattern.as_deref().map(Pattern::new).transpose()?,
                one_of: raw.one_of.clone(),
            },
            "blob" => Kind::Blob,
            "integer" => Kind::Integer,
            "boolean" => Kind::Boolean,
            "timestamp" => Kind::Timestamp,
            "list" => Kind::List(part(&raw.member)?),
            "map" => Kind::Map(part(&raw.key)?, part(&raw.value)?),
            "structure" => Kind::Structure(self.members(&raw.members, depth)?),
            other => return Err(format!("the shape `{name}` is of the unknown type `{other}`")),
        };
        Ok(Shape {
            kind,
            min: raw.min,
            max: raw.max,
            sensitive: raw.sensitive,
        })
    }
}

fn lower_camel(name: &str) -> String {
    let mut chars = name.chars();
    let first = chars.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::VERBS;

    #[test]
    fn the_model_compiled_in_parses_and_is_whole() {
        let model = parse(include_str!("model.json")).unwrap();
        assert_eq!(model.len(), 56);
        let ours = [
            "MarkVersionCompromised",
            "MarkKeyCompromised",
            "HoldKey",
            "ReleaseKey",
            "GetReplicaIdentity",
            "ExportReplica",
            "ImportReplica",
        ];
        for (verb, _) in VERBS {
            assert_eq!(
                ours.contains(verb),
                !model.contains_key(*verb),
                "{verb}: only what KMS has no words for is missing from the model"
            );
        }
    }

    #[test]
    fn a_broken_model_is_refused() {
        for bad in [
            "{}",
            r#"{"operations":{"A":["B C"]},"shapes":{}}"#,
            r#"{"operations":{"A":["B"]},"shapes":{}}"#,
            r#"{"operations":{"A":["B C"]},"shapes":{"C":{"type":"list"}}}"#,
            r#"{"operations":{"A":["B C"]},"shapes":{"C":{"type":"list","member":"C"}}}"#,
            r#"{"operations":{"A":["B C"]},"shapes":{"C":{"type":"string","pattern":"["}}}"#,
            r#"{"operations":{"A":["B C"]},"shapes":{"C":{"type":"double"}}}"#,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
