//! The Cedar schema and the built-in policies, and the typed attributes that the schema gives to callers.

use std::sync::LazyLock;

use cedar_policy::{EntityId, EntityTypeName, EntityUid, Schema};

/// The schema's text, for tools and people.
pub const SCHEMA: &str = include_str!("../bundle/schema.cedarschema");

/// The built-in policies' text: always in force.
pub const BUILTIN: &str = include_str!("../bundle/builtin.cedar");

/// The prefix of built-in policies' ids; no bundle may use it.
pub const BUILTIN_PREFIX: &str = "signet:";

/// Where the schema and examples are described.
pub(crate) const REFERENCE: &str = "docs/reference/policies.md lists entity types, actions and what context holds";

/// The type of one of a caller's attributes that policies read without `getTag`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    Text,
    Texts,
    Bool,
}

/// Attributes of `Caller` that have a type of their own in the schema.
pub(crate) const TYPED_ATTRIBUTES: [(&str, Typed); 11] = [
    ("roles", Typed::Texts),
    ("groups", Typed::Texts),
    ("repository", Typed::Text),
    ("ref", Typed::Text),
    ("environment", Typed::Text),
    ("workflow", Typed::Text),
    ("actor", Typed::Text),
    ("email", Typed::Text),
    ("email_verified", Typed::Bool),
    ("namespace", Typed::Text),
    ("service", Typed::Text),
];

/// The parsed schema.
#[expect(clippy::expect_used, reason = "the text is compiled in; a test parses it")]
pub(crate) static PARSED: LazyLock<Schema> = LazyLock::new(|| {
    Schema::from_cedarschema_str(SCHEMA)
        .expect("the schema compiled in parses")
        .0
});

/// The entity types' names.
pub(crate) struct Types {
    pub(crate) tenant: EntityTypeName,
    pub(crate) caller: EntityTypeName,
    pub(crate) edge: EntityTypeName,
    pub(crate) operator: EntityTypeName,
    pub(crate) account_principal: EntityTypeName,
    pub(crate) key: EntityTypeName,
    pub(crate) key_ring: EntityTypeName,
    pub(crate) profile: EntityTypeName,
    pub(crate) authority: EntityTypeName,
    pub(crate) claims: EntityTypeName,
    pub(crate) action: EntityTypeName,
}

/// The entity types' names, parsed once.
pub(crate) static TYPES: LazyLock<Types> = LazyLock::new(|| Types {
    tenant: type_name("Tenant"),
    caller: type_name("Caller"),
    edge: type_name("Edge"),
    operator: type_name("Operator"),
    account_principal: type_name("AccountPrincipal"),
    key: type_name("Key"),
    key_ring: type_name("KeyRing"),
    profile: type_name("Profile"),
    authority: type_name("Authority"),
    claims: type_name("Claims"),
    action: type_name("Action"),
});

#[expect(clippy::expect_used, reason = "the names are literals above; a test parses them")]
fn type_name(text: &str) -> EntityTypeName {
    text.parse().expect("a literal type name parses")
}

/// The id of an entity: exactly this text, whatever characters it has.
pub(crate) fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_parses_without_warnings() {
        let (_, warnings) = Schema::from_cedarschema_str(SCHEMA).unwrap();
        assert_eq!(
            warnings.map(|warning| warning.to_string()).collect::<Vec<_>>(),
            Vec::<String>::new()
        );
        let known: Vec<_> = PARSED.entity_types().map(ToString::to_string).collect();
        let types = [
            &TYPES.tenant,
            &TYPES.caller,
            &TYPES.edge,
            &TYPES.operator,
            &TYPES.account_principal,
            &TYPES.key,
            &TYPES.key_ring,
        ];
        for name in types
            .into_iter()
            .chain([&TYPES.profile, &TYPES.authority, &TYPES.claims])
        {
            assert!(known.contains(&name.to_string()), "{name}");
        }
    }
}
