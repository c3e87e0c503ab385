//! The administrative actions, by the names they have in the schema.

/// What an operator does. The comment says which resource it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AdminAction {
    /// On a tenant.
    CreateKey,
    /// On a tenant.
    ListKeys,
    /// On a key.
    DescribeKey,
    /// On a key.
    GetPublicKey,
    /// On a key.
    EnableKey,
    /// On a key.
    DisableKey,
    /// On a key.
    ScheduleKeyDeletion,
    /// On a key.
    CancelKeyDeletion,
    /// Aliases, tags, description; on a key.
    UpdateKey,
    /// A raw signature or MAC made at the authority; on a key.
    Sign,
    /// On a key.
    VerifyWithKey,
    /// On an edge.
    RevokeEdge,
    /// On the authority.
    CreateTenant,
    /// On the authority.
    ListTenants,
    /// On the authority.
    CreateJoinToken,
    /// On the authority.
    ListEdges,
    /// On the authority.
    ApplyBundle,
    /// On the authority.
    ReadBundle,
    /// On a tenant, or on the authority for all of it.
    ReadAudit,
}

impl AdminAction {
    /// Every administrative action.
    pub const ALL: [AdminAction; 19] = [
        Self::CreateKey,
        Self::ListKeys,
        Self::DescribeKey,
        Self::GetPublicKey,
        Self::EnableKey,
        Self::DisableKey,
        Self::ScheduleKeyDeletion,
        Self::CancelKeyDeletion,
        Self::UpdateKey,
        Self::Sign,
        Self::VerifyWithKey,
        Self::RevokeEdge,
        Self::CreateTenant,
        Self::ListTenants,
        Self::CreateJoinToken,
        Self::ListEdges,
        Self::ApplyBundle,
        Self::ReadBundle,
        Self::ReadAudit,
    ];

    /// The name in the schema.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CreateKey => "CreateKey",
            Self::ListKeys => "ListKeys",
            Self::DescribeKey => "DescribeKey",
            Self::GetPublicKey => "GetPublicKey",
            Self::EnableKey => "EnableKey",
            Self::DisableKey => "DisableKey",
            Self::ScheduleKeyDeletion => "ScheduleKeyDeletion",
            Self::CancelKeyDeletion => "CancelKeyDeletion",
            Self::UpdateKey => "UpdateKey",
            Self::Sign => "Sign",
            Self::VerifyWithKey => "VerifyWithKey",
            Self::RevokeEdge => "RevokeEdge",
            Self::CreateTenant => "CreateTenant",
            Self::ListTenants => "ListTenants",
            Self::CreateJoinToken => "CreateJoinToken",
            Self::ListEdges => "ListEdges",
            Self::ApplyBundle => "ApplyBundle",
            Self::ReadBundle => "ReadBundle",
            Self::ReadAudit => "ReadAudit",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{PARSED, TYPES, uid};

    #[test]
    fn the_list_and_the_schema_name_the_same_actions() {
        let operator = &TYPES.operator;
        let mut ours: Vec<_> = AdminAction::ALL
            .iter()
            .map(|action| uid(&TYPES.action, action.as_str()))
            .collect();
        let mut theirs: Vec<_> = PARSED
            .actions()
            .filter(|action| {
                PARSED
                    .principals_for_action(action)
                    .is_some_and(|mut names| names.any(|n| n == operator))
            })
            .cloned()
            .collect();
        ours.sort();
        theirs.sort();
        assert_eq!(ours, theirs);
    }
}
