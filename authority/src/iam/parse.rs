//! A document, read element by element; what is not known is refused.

use std::collections::BTreeSet;

use super::json::{Json, Members};
use super::principal::Who;
use super::statement::{Listed, Statement};
use super::template::{ActionPattern, ResourcePattern, Version};
use super::{Document, Effect, MAX_BYTES, PolicyFault, condition};
use crate::names::shown;

const DOCUMENT: &str = "`Version`, `Id` and `Statement`";
const STATEMENT: &str = "`Sid`, `Effect`, `Principal`, `NotPrincipal`, `Action`, `NotAction`, `Resource`, `NotResource` and \
                         `Condition`";

pub(super) fn document(text: &str) -> Result<Document, PolicyFault> {
    let whole = |message: String| PolicyFault {
        statement: None,
        message,
    };
    check_text(text).map_err(whole)?;
    let mut members = Json::parse(text)
        .and_then(|json| json.members("a policy document"))
        .map_err(whole)?;
    let version = version(members.take("Version")).map_err(whole)?;
    if let Some(id) = members.take("Id") {
        id.text("Id").map_err(whole)?;
    }
    let written = match members.take("Statement") {
        Some(Json::List(items)) if items.is_empty() => return Err(whole("`Statement` is empty".to_owned())),
        Some(Json::List(items)) => items,
        Some(one @ Json::Object(_)) => vec![one],
        Some(other) => {
            return Err(whole(format!(
                "`Statement` is an object or a list of objects, not {}",
                other.what()
            )));
        }
        None => return Err(whole("a policy document has a `Statement`".to_owned())),
    };
    none_left(&members, "a policy document", DOCUMENT).map_err(whole)?;
    let mut names = BTreeSet::new();
    let mut statements = Vec::with_capacity(written.len());
    for (place, one) in written.into_iter().enumerate() {
        let statement = statement(one, place, version)?;
        if !names.insert(statement.name.clone()) {
            return Err(PolicyFault {
                statement: Some(statement.name),
                message: "another statement has the same name".to_owned(),
            });
        }
        statements.push(statement);
    }
    Ok(Document { statements })
}

/// KMS's bounds on the text as it comes.
fn check_text(text: &str) -> Result<(), String> {
    if text.len() > MAX_BYTES {
        return Err(format!(
            "a key policy has at most {MAX_BYTES} bytes, this one has {}",
            text.len()
        ));
    }
    let known = |c: &char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{ff}');
    match text.chars().find(|c| !known(c)) {
        Some(c) => Err(format!(
            "a key policy has tabs, line ends and the characters U+0020 to U+00FF, not U+{:04X}",
            u32::from(c)
        )),
        None => Ok(()),
    }
}

fn version(given: Option<Json>) -> Result<Version, String> {
    let Some(given) = given else {
        return Ok(Version::V2008);
    };
    match given.text("Version")?.as_str() {
        "2012-10-17" => Ok(Version::V2012),
        "2008-10-17" => Ok(Version::V2008),
        other => Err(format!(
            "there is no `Version` `{}`: it is `2012-10-17`, or `2008-10-17` without variables",
            shown(other)
        )),
    }
}

fn statement(json: Json, place: usize, version: Version) -> Result<Statement, PolicyFault> {
    let name = match &json {
        Json::Object(members) => sid(members),
        _ => None,
    };
    let name = name.unwrap_or_else(|| format!("#{}", place.saturating_add(1)));
    elements(json, name.clone(), version).map_err(|message| PolicyFault {
        statement: Some(name),
        message,
    })
}

/// The `Sid`, for messages too. One that is empty counts as none: tools write it so.
fn sid(members: &[(String, Json)]) -> Option<String> {
    members.iter().find_map(|(name, value)| match value {
        Json::Text(text) if name == "Sid" && !text.is_empty() => Some(text.clone()),
        _ => None,
    })
}

fn elements(json: Json, name: String, version: Version) -> Result<Statement, String> {
    let mut members = json.members("a statement")?;
    if let Some(sid) = members.take("Sid") {
        sid.text("Sid")?;
    }
    let effect = match members
        .take("Effect")
        .map(|effect| effect.text("Effect"))
        .transpose()?
        .as_deref()
    {
        Some("Allow") => Effect::Allow,
        Some("Deny") => Effect::Deny,
        Some(other) => return Err(format!("`Effect` is `Allow` or `Deny`, not `{}`", shown(other))),
        None => return Err("a statement has an `Effect`, `Allow` or `Deny`".to_owned()),
    };
    let who = Who::parse(members.take("Principal"), members.take("NotPrincipal"), effect)?;
    let actions = listed(&mut members, "Action", ActionPattern::parse)?;
    let resources = listed(&mut members, "Resource", |text| ResourcePattern::parse(text, version))?;
    let conditions = match members.take("Condition") {
        Some(block) => condition::parse(block, version)?,
        None => Vec::new(),
    };
    none_left(&members, "a statement", STATEMENT)?;
    Ok(Statement {
        name,
        effect,
        who,
        actions,
        resources,
        conditions,
    })
}

/// An element or its `Not…` form, one of which there is.
fn listed<T>(
    members: &mut Members,
    element: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Listed<T>, String> {
    let not = format!("Not{element}");
    let read = |json: Json, element: &str| -> Result<Vec<T>, String> {
        json.texts(element)?.iter().map(|text| parse(text)).collect()
    };
    match (members.take(element), members.take(&not)) {
        (Some(json), None) => Ok(Listed::In(read(json, element)?)),
        (None, Some(json)) => Ok(Listed::NotIn(read(json, &not)?)),
        (Some(_), Some(_)) => Err(format!("a statement has `{element}` or `{not}`, not both")),
        (None, None) => Err(format!(
            "a statement without `{element}` and `{not}` would have no effect; name one"
        )),
    }
}

fn none_left(members: &Members, of: &str, known: &str) -> Result<(), String> {
    match members.left() {
        Some(name) => Err(format!("`{}` is no element of {of}, which has {known}", shown(name))),
        None => Ok(()),
    }
}
