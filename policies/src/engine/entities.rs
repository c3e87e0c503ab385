//! Building Cedar entities from facts, and keeping the ones that do not change from request to request.

use cedar_policy::{Entities, Entity, EntityUid, RestrictedExpression as Value};
use serde_json::Value as Json;

use super::facts::{AccountFacts, Attribute, CallerFacts, EdgeFacts, KeyFacts, OperatorFacts};
use crate::profile::{Profile, Signs};
use crate::schema::{TYPED_ATTRIBUTES, TYPES, Typed, uid};

/// The tag that puts a key into a ring.
const RING_TAG: &str = "ring";

/// A caller, or which attribute does not fit the schema.
pub(super) fn caller(facts: &CallerFacts) -> Result<Entity, String> {
    let tenant = uid(&TYPES.tenant, &facts.tenant);
    let mut attributes = vec![
        ("id".to_owned(), text(&facts.id)),
        ("kind".to_owned(), text(&facts.kind)),
        ("tenant".to_owned(), Value::new_entity_uid(tenant.clone())),
        ("issuer".to_owned(), text(&facts.issuer)),
        ("subject".to_owned(), text(&facts.subject)),
    ];
    for (name, expected) in TYPED_ATTRIBUTES {
        if let Some(value) = facts.attributes.get(name) {
            attributes.push((name.to_owned(), typed(name, expected, value)?));
        }
    }
    let tags: Result<Vec<_>, String> = facts
        .attributes
        .iter()
        .map(|(name, value)| Ok((name.clone(), free(&attribute_json(value))?)))
        .collect();
    entity(uid(&TYPES.caller, &facts.id), attributes, vec![tenant], tags?)
}

fn typed(name: &str, expected: Typed, value: &Attribute) -> Result<Value, String> {
    match (expected, value) {
        (Typed::Text, Attribute::Text(value)) => Ok(text(value)),
        (Typed::Text, Attribute::Int(value)) => Ok(text(&value.to_string())),
        (Typed::Texts, Attribute::Texts(values)) => Ok(Value::new_set(values.iter().map(|value| text(value)))),
        (Typed::Texts, Attribute::Text(value)) => Ok(Value::new_set([text(value)])),
        (Typed::Bool, Attribute::Bool(value)) => Ok(Value::new_bool(*value)),
        (Typed::Text, _) => Err(format!("the caller's attribute `{name}` is not a text")),
        (Typed::Texts, _) => Err(format!("the caller's attribute `{name}` is not a list of texts")),
        (Typed::Bool, _) => Err(format!("the caller's attribute `{name}` is not a boolean")),
    }
}

fn attribute_json(value: &Attribute) -> Json {
    match value {
        Attribute::Text(value) => Json::from(value.as_str()),
        Attribute::Int(value) => Json::from(*value),
        Attribute::Bool(value) => Json::from(*value),
        Attribute::Texts(values) => Json::from(values.as_slice()),
    }
}

/// A free-form value as the schema's type `Attribute`.
fn free(value: &Json) -> Result<Value, String> {
    let list = |items: &[Json]| {
        items
            .iter()
            .map(|item| item.as_str().map(text))
            .collect::<Option<Vec<_>>>()
    };
    let (kind, written, texts) = match value {
        Json::Null => ("null", "null".to_owned(), Vec::new()),
        Json::Bool(flag) => ("bool", flag.to_string(), vec![text(&flag.to_string())]),
        Json::Number(number) => {
            let kind = if number.is_i64() || number.is_u64() {
                "int"
            } else {
                "float"
            };
            (kind, number.to_string(), vec![text(&number.to_string())])
        }
        Json::String(value) => ("text", value.clone(), vec![text(value)]),
        Json::Array(items) => match list(items) {
            Some(texts) => ("texts", value.to_string(), texts),
            None => ("json", value.to_string(), Vec::new()),
        },
        Json::Object(_) => ("json", value.to_string(), Vec::new()),
    };
    let mut members = vec![
        ("kind".to_owned(), text(kind)),
        ("text".to_owned(), text(&written)),
        ("texts".to_owned(), Value::new_set(texts)),
    ];
    if let Some(number) = value.as_i64() {
        members.push(("number".to_owned(), Value::new_long(number)));
    }
    if let Some(flag) = value.as_bool() {
        members.push(("flag".to_owned(), Value::new_bool(flag)));
    }
    Value::new_record(members).map_err(|error| error.to_string())
}

/// The claims of a token as one entity with tags.
pub(super) fn claims<'a>(
    id: EntityUid,
    claims: impl IntoIterator<Item = (&'a String, &'a Json)>,
) -> Result<Entity, String> {
    let tags: Result<Vec<_>, String> = claims
        .into_iter()
        .map(|(name, value)| Ok((name.clone(), free(value)?)))
        .collect();
    entity(id, Vec::new(), Vec::new(), tags?)
}

/// A key with its tenant and ring.
pub(super) fn key(facts: &KeyFacts) -> Result<Vec<Entity>, String> {
    let tenant = uid(&TYPES.tenant, facts.tenant());
    let ring = ring_of(facts);
    let attributes = vec![
        ("id".to_owned(), text(facts.id())),
        ("tenant".to_owned(), Value::new_entity_uid(tenant.clone())),
        (
            "aliases".to_owned(),
            Value::new_set(facts.aliases().iter().map(|alias| text(alias))),
        ),
    ];
    let tags = facts
        .tags()
        .iter()
        .map(|(name, value)| (name.clone(), text(value)))
        .collect();
    let parents = ring.iter().map(Entity::uid).chain([tenant]).collect();
    let key = entity(uid(&TYPES.key, facts.id()), attributes, parents, tags)?;
    Ok(ring.into_iter().chain([key]).collect())
}

fn ring_of(facts: &KeyFacts) -> Option<Entity> {
    let name = facts.tags().get(RING_TAG)?;
    let tenant = uid(&TYPES.tenant, facts.tenant());
    let attributes = vec![
        ("name".to_owned(), text(name)),
        ("tenant".to_owned(), Value::new_entity_uid(tenant.clone())),
    ];
    let id = uid(&TYPES.key_ring, &format!("{}/{name}", facts.tenant()));
    entity(id, attributes, vec![tenant], Vec::new()).ok()
}

/// A profile with its tenant, key and ring.
pub(super) fn profile(profile: &Profile, facts: &KeyFacts) -> Result<Vec<Entity>, String> {
    let tenant = uid(&TYPES.tenant, &profile.tenant);
    let mut attributes = vec![
        ("name".to_owned(), text(&profile.name)),
        ("tenant".to_owned(), Value::new_entity_uid(tenant.clone())),
        ("kind".to_owned(), text(profile.kind().as_str())),
        ("key".to_owned(), Value::new_entity_uid(uid(&TYPES.key, facts.id()))),
        ("algorithm".to_owned(), text(profile.algorithm.as_str())),
    ];
    if let Signs::Token(token) = &profile.signs {
        attributes.push(("issuer".to_owned(), text(&token.issuer)));
        attributes.push((
            "max_lifetime".to_owned(),
            Value::new_long(i64::from(token.max_lifetime)),
        ));
    }
    let parents = ring_of(facts)
        .map(|ring| ring.uid())
        .into_iter()
        .chain([tenant])
        .collect();
    let profile = entity(uid(&TYPES.profile, &profile.name), attributes, parents, Vec::new())?;
    let mut all = key(facts)?;
    all.push(profile);
    Ok(all)
}

/// An edge.
pub(super) fn edge(facts: &EdgeFacts) -> Result<Entity, String> {
    let tags = facts
        .labels
        .iter()
        .map(|(name, value)| (name.clone(), text(value)))
        .collect();
    entity(
        uid(&TYPES.edge, &facts.id),
        vec![("id".to_owned(), text(&facts.id))],
        Vec::new(),
        tags,
    )
}

/// An operator.
pub(super) fn operator(facts: &OperatorFacts) -> Result<Entity, String> {
    let tenant = facts.tenant.as_deref().map(|tenant| uid(&TYPES.tenant, tenant));
    let mut attributes = vec![
        ("id".to_owned(), text(&facts.id)),
        ("role".to_owned(), text(&facts.role)),
    ];
    if let Some(tenant) = &tenant {
        attributes.push(("tenant".to_owned(), Value::new_entity_uid(tenant.clone())));
    }
    entity(
        uid(&TYPES.operator, &facts.id),
        attributes,
        tenant.into_iter().collect(),
        Vec::new(),
    )
}

/// A principal of an account.
pub(super) fn account(facts: &AccountFacts) -> Result<Entity, String> {
    let tenant = uid(&TYPES.tenant, &facts.tenant);
    let mut attributes = vec![
        ("arn".to_owned(), text(&facts.arn)),
        ("kind".to_owned(), text(facts.kind.as_str())),
        ("name".to_owned(), text(&facts.name)),
        ("role".to_owned(), text(&facts.role)),
        ("tenant".to_owned(), Value::new_entity_uid(tenant.clone())),
    ];
    let of_session = [
        ("session", &facts.session),
        ("issuer", &facts.issuer),
        ("subject", &facts.subject),
    ];
    for (name, value) in of_session {
        attributes.extend(value.as_deref().map(|value| (name.to_owned(), text(value))));
    }
    entity(
        uid(&TYPES.account_principal, &facts.arn),
        attributes,
        vec![tenant],
        Vec::new(),
    )
}

/// A set of entities with their hierarchy closed.
pub(super) fn collect(entities: Vec<Entity>) -> Result<Entities, String> {
    Entities::from_entities(entities, None).map_err(|error| error.to_string())
}

pub(super) fn text(value: &str) -> Value {
    Value::new_string(value.to_owned())
}

fn entity(
    id: EntityUid,
    attributes: Vec<(String, Value)>,
    parents: Vec<EntityUid>,
    tags: Vec<(String, Value)>,
) -> Result<Entity, String> {
    Entity::new_with_tags(id, attributes, parents, tags).map_err(|error| error.to_string())
}
