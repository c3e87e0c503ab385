//! `TagResource`, `UntagResource`, `ListResourceTags`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::decide::Facts;
use super::page::{self, Paging};
use super::{Keys, KmsError, KmsErrorType, Session};
use crate::names::shown;

/// Most tags of a key, and the longest name and value in characters (KMS's bounds).
const MAX_TAGS: usize = 50;
const MAX_NAME: usize = 128;
const MAX_VALUE: usize = 256;
/// Tags that say what a key is: set when it is made, never changed but for those of its owner.
pub(super) const RESERVED: &str = "signet:";
/// Who answers for the key, and how to reach them.
pub(super) const OWNER: &str = "signet:owner";
pub(super) const CONTACT: &str = "signet:contact";
/// How long an edge may sign without hearing from the authority.
pub(super) const LEASE: &str = "signet:lease";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct Tag {
    tag_key: String,
    tag_value: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct TagRequest {
    key_id: String,
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct UntagRequest {
    key_id: String,
    tag_keys: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ListRequest {
    key_id: String,
    limit: Option<usize>,
    marker: Option<String>,
}

pub(super) async fn tag_resource(keys: &Keys, session: &Session<'_>, request: TagRequest) -> Result<Value, KmsError> {
    let tags = collect(request.tags)?;
    let facts = Facts::default().tagging(&tags);
    let mut key = keys.find_for_operator(session, &request.key_id, &facts).await?;
    keys.demand_not_pending(&key.value)?;
    refuse_reserved(tags.keys())?;
    key.value.tags.extend(tags);
    check_count(&key.value.tags)?;
    keys.save(&key).await?;
    Ok(json!({}))
}

pub(super) async fn untag_resource(
    keys: &Keys,
    session: &Session<'_>,
    request: UntagRequest,
) -> Result<Value, KmsError> {
    let facts = Facts::default().with_all("aws:TagKeys", request.tag_keys.iter().map(String::as_str));
    let mut key = keys.find_for_operator(session, &request.key_id, &facts).await?;
    keys.demand_not_pending(&key.value)?;
    refuse_reserved(request.tag_keys.iter())?;
    for name in &request.tag_keys {
        key.value.tags.remove(name);
    }
    keys.save(&key).await?;
    Ok(json!({}))
}

pub(super) async fn list_resource_tags(
    keys: &Keys,
    session: &Session<'_>,
    request: ListRequest,
) -> Result<Value, KmsError> {
    let key = keys
        .find_by_id(session, &request.key_id, &Facts::default())
        .await?
        .value;
    let paging = Paging::new(request.limit, request.marker).within(MAX_TAGS, MAX_TAGS);
    let limit = paging.limit()?;
    let after = paging.after("")?;
    let mut rest = key
        .tags
        .iter()
        .filter(|(name, _)| after.as_ref().is_none_or(|after| *name > after));
    let page: Vec<_> = rest.by_ref().take(limit).collect();
    let more = if rest.next().is_some() {
        page.last().map(|(name, _)| name.as_str())
    } else {
        None
    };
    let items = page
        .iter()
        .map(|(name, value)| json!({ "TagKey": name, "TagValue": value }))
        .collect();
    Ok(page::answer("Tags", items, "", more))
}

/// Tags as a map: bounded, no name twice.
pub(super) fn collect(tags: Vec<Tag>) -> Result<BTreeMap<String, String>, KmsError> {
    let mut map = BTreeMap::new();
    for Tag { tag_key, tag_value } in tags {
        let fits = |text: &str, max: usize| text.chars().count() <= max && !text.contains(char::is_control);
        if tag_key.is_empty() || !fits(&tag_key, MAX_NAME) || !fits(&tag_value, MAX_VALUE) {
            let message = format!(
                "`{}`: a tag's key has 1 to {MAX_NAME} characters, its value at most {MAX_VALUE}",
                shown(&tag_key)
            );
            return Err(KmsErrorType::Validation.because(message));
        }
        if tag_key.to_ascii_lowercase().starts_with("aws:") {
            return Err(KmsErrorType::Tag.because("Tags beginning with aws: are reserved"));
        }
        if map.contains_key(&tag_key) {
            return Err(KmsErrorType::Tag.because("Duplicate tag keys"));
        }
        map.insert(tag_key, tag_value);
    }
    check_count(&map)?;
    Ok(map)
}

fn check_count(tags: &BTreeMap<String, String>) -> Result<(), KmsError> {
    if tags.len() > MAX_TAGS {
        return Err(KmsErrorType::Tag.because("Too many tags"));
    }
    Ok(())
}

pub(super) fn refuse_reserved<'a>(mut names: impl Iterator<Item = &'a String>) -> Result<(), KmsError> {
    match names.find(|name| name.starts_with(RESERVED) && ![OWNER, CONTACT].contains(&name.as_str())) {
        Some(name) => {
            let message = format!(
                "`{}` is reserved: it is chosen when the key is made and never changes",
                shown(name)
            );
            Err(KmsErrorType::Tag.because(message))
        }
        None => Ok(()),
    }
}
