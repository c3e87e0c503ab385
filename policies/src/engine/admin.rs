//! The administrative actions and those of the key API, by the names they have in the schema.

macro_rules! actions {
    (
        keys { $($(#[$key_doc:meta])* $key:ident,)* }
        service { $($(#[$doc:meta])* $name:ident,)* }
    ) => {
        /// What an operator does, or a principal of an account through the key API. The comment says which resource it takes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum AdminAction {
            $($(#[$key_doc])* $key,)*
            $($(#[$doc])* $name,)*
        }

        impl AdminAction {
            /// Every action: those of the key API first.
            pub const ALL: &'static [AdminAction] = &[$(Self::$key,)* $(Self::$name,)*];

            /// Those of the key API, which operators and principals of accounts share.
            pub const KEYS: &'static [AdminAction] = &[$(Self::$key,)*];

            /// The name in the schema.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$key => stringify!($key),)*
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// Whether it is one of the key API: its context says what the key's policy and grants say.
            pub const fn is_of_keys(self) -> bool {
                match self {
                    $(Self::$key => true,)*
                    $(Self::$name => false,)*
                }
            }
        }
    };
}

actions! {
    keys {
        /// On a tenant.
        CreateKey,
        /// On a tenant.
        ListKeys,
        /// On a tenant, or on the key whose aliases they are.
        ListAliases,
        /// On a tenant.
        GenerateRandom,
        /// On a tenant.
        ListRetirableGrants,
        /// On a tenant.
        ConnectCustomKeyStore,
        /// On a tenant.
        CreateCustomKeyStore,
        /// On a tenant.
        DeleteCustomKeyStore,
        /// On a tenant.
        DescribeCustomKeyStores,
        /// On a tenant.
        DisconnectCustomKeyStore,
        /// On a tenant.
        UpdateCustomKeyStore,
        /// On a key.
        DescribeKey,
        /// On a key.
        GetPublicKey,
        /// On a key.
        ListResourceTags,
        /// On a key.
        GetKeyPolicy,
        /// On a key.
        ListKeyPolicies,
        /// On a key.
        GetKeyRotationStatus,
        /// On a key.
        ListKeyRotations,
        /// On a key.
        GetKeyLastUsage,
        /// On a key.
        ListGrants,
        /// On a key.
        EnableKey,
        /// On a key.
        DisableKey,
        /// On a key.
        ScheduleKeyDeletion,
        /// On a key.
        CancelKeyDeletion,
        /// On a key.
        UpdateKeyDescription,
        /// On the key that the alias shall name.
        CreateAlias,
        /// On the key that the alias names, and on the one it shall name.
        UpdateAlias,
        /// On the key that the alias names.
        DeleteAlias,
        /// On a key.
        TagResource,
        /// On a key.
        UntagResource,
        /// On a key.
        PutKeyPolicy,
        /// On a key.
        EnableKeyRotation,
        /// On a key.
        DisableKeyRotation,
        /// On a key.
        RotateKeyOnDemand,
        /// On a key.
        GetParametersForImport,
        /// On a key.
        ImportKeyMaterial,
        /// On a key.
        DeleteImportedKeyMaterial,
        /// On a key.
        ReplicateKey,
        /// On a key.
        UpdatePrimaryRegion,
        /// On a key.
        CreateGrant,
        /// On a key.
        RevokeGrant,
        /// On a key.
        RetireGrant,
        /// On a key.
        Encrypt,
        /// On a key.
        Decrypt,
        /// On the key that the ciphertext is under.
        ReEncryptFrom,
        /// On the key that it shall be under.
        ReEncryptTo,
        /// On a key.
        GenerateDataKey,
        /// On a key.
        GenerateDataKeyWithoutPlaintext,
        /// On a key.
        GenerateDataKeyPair,
        /// On a key.
        GenerateDataKeyPairWithoutPlaintext,
        /// On a key.
        Sign,
        /// The key API's `Verify`; on a key.
        VerifyWithKey,
        /// On a key.
        GenerateMac,
        /// On a key.
        VerifyMac,
        /// On a key.
        DeriveSharedSecret,
        /// On a key.
        Encapsulate,
        /// On a key.
        Decapsulate,
    }
    service {
        /// On an edge.
        RevokeEdge,
        /// On a tenant, or on the authority for everything else.
        Stop,
        /// On a tenant, or on the authority for everything else.
        Resume,
        /// On the authority.
        CreateTenant,
        /// On the authority.
        ListTenants,
        /// On a tenant.
        CreateAccessKey,
        /// On a tenant.
        ListAccessKeys,
        /// Stop it, start it again, or give it a successor; on a tenant.
        UpdateAccessKey,
        /// On a tenant.
        DeleteAccessKey,
        /// Quorum, approvers and what waits for them; on a tenant, or on the authority for root operations.
        ReadSafeguards,
        /// On a tenant, or on the authority for root operations.
        UpdateSafeguards,
        /// On the authority.
        CreateJoinToken,
        /// Whose tokens make edges; on the authority.
        ManageEdgeTrust,
        /// On the authority.
        MakeBackup,
        /// On the authority.
        SetBackupKey,
        /// On the authority.
        ListEdges,
        /// On the authority.
        ApplyBundle,
        /// On the authority.
        ReadBundle,
        /// Sealed samples of requests; on the authority.
        ReadSamples,
        /// Who may use the keys of a tenant and who did, and which are not used; on a tenant.
        ReadReports,
        /// On a tenant, or on the authority for all of it.
        ReadAudit,
    }
}

impl AdminAction {
    /// The action's name in key policies, as in `kms:Verify`, without the prefix; none for those that are not of the key API.
    pub const fn kms_name(self) -> Option<&'static str> {
        match self {
            // A caller's `Verify` at an edge had the name first.
            Self::VerifyWithKey => Some("Verify"),
            other if other.is_of_keys() => Some(other.as_str()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use cedar_policy::EntityTypeName;

    use super::*;
    use crate::schema::{PARSED, TYPES, uid};

    fn same_as_in_the_schema(ours: &[AdminAction], principal: &EntityTypeName) {
        let mut ours: Vec<_> = ours.iter().map(|action| uid(&TYPES.action, action.as_str())).collect();
        let mut theirs: Vec<_> = PARSED
            .actions()
            .filter(|action| {
                PARSED
                    .principals_for_action(action)
                    .is_some_and(|mut names| names.any(|n| n == principal))
            })
            .cloned()
            .collect();
        ours.sort();
        theirs.sort();
        assert_eq!(ours, theirs);
    }

    #[test]
    fn the_list_and_the_schema_name_the_same_actions() {
        same_as_in_the_schema(AdminAction::ALL, &TYPES.operator);
        same_as_in_the_schema(AdminAction::KEYS, &TYPES.account_principal);
    }

    #[test]
    fn key_policies_know_only_actions_of_the_key_api() {
        assert_eq!(AdminAction::VerifyWithKey.kms_name(), Some("Verify"));
        assert_eq!(AdminAction::ReEncryptTo.kms_name(), Some("ReEncryptTo"));
        assert_eq!(AdminAction::ApplyBundle.kms_name(), None);
    }
}
