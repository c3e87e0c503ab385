//! A grant as it is stored, what it covers, and its token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use signing::digest::sha256;
use signing::encoding::hex;

use crate::crypto::blob::EncryptionContext;
use crate::crypto::{KeySpec, KeyUsage};
use crate::keys::{Caller, KeyRecord, KmsError, KmsErrorType};
use crate::names::Tenant;

/// Characters of a grant's id that say whose it is: a caller's grants are found without reading others'.
const GRANTEE_LEN: usize = 16;
const TOKEN_PREFIX: &str = "signet-grant-1";
/// Characters of a grant token (KMS's bound).
const MAX_TOKEN: usize = 8192;

/// What limits a grant beside its operations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(in crate::keys) struct Constraints {
    /// The request's encryption context has all of this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::keys) encryption_context_subset: Option<EncryptionContext>,
    /// The request's encryption context is this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::keys) encryption_context_equals: Option<EncryptionContext>,
}

impl Constraints {
    pub(in crate::keys) fn is_empty(&self) -> bool {
        self.encryption_context_subset.is_none() && self.encryption_context_equals.is_none()
    }

    /// Whether a request with this context is within.
    fn admit(&self, context: &EncryptionContext) -> bool {
        let subset = self.encryption_context_subset.as_ref();
        let equals = self.encryption_context_equals.as_ref();
        subset.is_none_or(|subset| contains(context, subset)) && equals.is_none_or(|equals| context == equals)
    }

    /// Whether every request that `self` admits is one that `other` admits, as far as both say it alike.
    fn are_within(&self, other: &Self) -> bool {
        let equals = self.encryption_context_equals.as_ref();
        let subset = self.encryption_context_subset.as_ref();
        let needs_subset = other.encryption_context_subset.as_ref().is_none_or(|wanted| {
            equals.is_some_and(|equals| contains(equals, wanted))
                || subset.is_some_and(|subset| contains(subset, wanted))
        });
        let needs_equals = other.encryption_context_equals.as_ref();
        needs_subset && needs_equals.is_none_or(|wanted| equals == Some(wanted))
    }
}

fn contains(context: &EncryptionContext, part: &EncryptionContext) -> bool {
    part.iter().all(|(key, value)| context.get(key) == Some(value))
}

/// A grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::keys) struct GrantRecord {
    /// 64 hex digits.
    pub(in crate::keys) id: String,
    /// The ARN of its key.
    pub(in crate::keys) key_arn: String,
    /// Makes the same request the same grant.
    pub(in crate::keys) name: Option<String>,
    /// The ARN of who may.
    pub(in crate::keys) grantee: String,
    /// The ARN of who may retire it, beside the account.
    pub(in crate::keys) retiring: Option<String>,
    /// What it allows, by the model's names, as they were given.
    pub(in crate::keys) operations: Vec<String>,
    /// On which contexts.
    pub(in crate::keys) constraints: Constraints,
    /// Unix seconds.
    pub(in crate::keys) created_at: u64,
}

/// What a new grant hands on, where a grant allows `CreateGrant`: no more than that one has.
#[derive(Clone, Debug)]
pub(in crate::keys) struct Handed {
    pub(in crate::keys) operations: Vec<String>,
    pub(in crate::keys) constraints: Constraints,
}

impl GrantRecord {
    /// Whether it allows its grantee `operation` on a request with this context (none: the operation has none), which
    /// hands on a grant where it is `CreateGrant`.
    pub(in crate::keys) fn allows(
        &self,
        operation: &str,
        context: Option<&EncryptionContext>,
        handed: Option<&Handed>,
    ) -> bool {
        let has = |operation: &str| self.operations.iter().any(|own| own == operation);
        if !has(operation) {
            return false;
        }
        if let Some(handed) = handed {
            let operations = handed.operations.iter().all(|operation| has(operation));
            return operations && handed.constraints.are_within(&self.constraints);
        }
        // Operations without a context, such as DescribeKey, are not constrained by one.
        context.is_none_or(|context| self.constraints.admit(context))
    }

    /// Whether the caller may retire it by what it says itself.
    pub(in crate::keys) fn lets_retire(&self, caller: &Caller) -> bool {
        let is = |arn: &str| names(caller).any(|own| own == arn);
        self.retiring.as_deref().is_some_and(is) || (self.allows("RetireGrant", None, None) && is(&self.grantee))
    }

    /// Whether it gives the same as `other`, whose id and time may differ.
    pub(in crate::keys) fn is_same(&self, other: &Self) -> bool {
        let sorted = |grant: &Self| {
            let mut operations = grant.operations.clone();
            operations.sort();
            operations
        };
        let other_as_this = Self {
            id: self.id.clone(),
            created_at: self.created_at,
            operations: self.operations.clone(),
            ..other.clone()
        };
        *self == other_as_this && sorted(self) == sorted(other)
    }

    /// A `GrantListEntry`.
    pub(in crate::keys) fn shape(&self, tenant: &Tenant) -> Value {
        let mut shape = Map::new();
        let mut set = |name: &str, value: Value| shape.insert(name.to_owned(), value);
        set("KeyId", json!(self.key_arn));
        set("GrantId", json!(self.id));
        set("Name", json!(self.name.as_deref().unwrap_or_default()));
        set("CreationDate", json!(self.created_at));
        set("GranteePrincipal", json!(self.grantee));
        set("IssuingAccount", json!(format!("arn:aws:iam::{tenant}:root")));
        set("Operations", json!(self.operations));
        if let Some(retiring) = &self.retiring {
            set("RetiringPrincipal", json!(retiring));
        }
        if !self.constraints.is_empty() {
            set("Constraints", json!(self.constraints));
        }
        Value::Object(shape)
    }
}

/// By which ARNs a caller is granted something: its own and, for a session, its role's.
pub(in crate::keys) fn names(caller: &Caller) -> impl Iterator<Item = &str> {
    [Some(caller.principal.arn()), caller.principal.role()]
        .into_iter()
        .flatten()
}

/// How ids of a grantee's grants begin.
pub(in crate::keys) fn grantee_prefix(arn: &str) -> String {
    hex(&sha256(arn.as_bytes())).chars().take(GRANTEE_LEN).collect()
}

/// A new grant's id.
pub(in crate::keys) fn new_id(grantee: &str) -> Result<String, KmsError> {
    let random: [u8; 24] = signing::key::random_bytes()?;
    Ok(format!("{}{}", grantee_prefix(grantee), hex(&random)))
}

/// A token, which says where a grant is and nothing secret: what may be done with it depends on who does it. New each time.
pub(in crate::keys) fn token(tenant: &Tenant, row: &str, id: &str) -> Result<String, KmsError> {
    let random: [u8; 12] = signing::key::random_bytes()?;
    let text = format!("{TOKEN_PREFIX}/{tenant}/{row}/{id}/{}", hex(&random));
    Ok(URL_SAFE_NO_PAD.encode(text))
}

/// Where the grant of a token is: tenant, row of the key, id.
pub(in crate::keys) fn read_token(token: &str) -> Result<(Tenant, String, String), KmsError> {
    let invalid = || KmsErrorType::InvalidGrantToken.because("The grant token is not valid.");
    if token.len() > MAX_TOKEN {
        return Err(invalid());
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid())?;
    let text = String::from_utf8(bytes).map_err(|_| invalid())?;
    let parts: Vec<&str> = text.split('/').collect();
    match parts.as_slice() {
        [TOKEN_PREFIX, tenant, row, id, _] => {
            let tenant = Tenant::parse(tenant).map_err(|_| invalid())?;
            Ok((tenant, (*row).to_owned(), (*id).to_owned()))
        }
        _ => Err(invalid()),
    }
}

/// The operations that a grant on a key may have, by what the key is for.
pub(in crate::keys) fn operations(key: &KeyRecord) -> Vec<&'static str> {
    let mut operations = vec!["CreateGrant", "RetireGrant", "DescribeKey"];
    if key.spec.is_asymmetric() {
        operations.push("GetPublicKey");
    }
    operations.extend_from_slice(match key.usage {
        KeyUsage::EncryptDecrypt => &["Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo"][..],
        KeyUsage::SignVerify => &["Sign", "Verify"],
        KeyUsage::GenerateVerifyMac => &["GenerateMac", "VerifyMac"],
        KeyUsage::KeyAgreement => &["DeriveSharedSecret"],
        KeyUsage::EncapsulateDecapsulate => &["Encapsulate", "Decapsulate"],
    });
    if key.spec == KeySpec::SymmetricDefault {
        operations.extend_from_slice(&[
            "GenerateDataKey",
            "GenerateDataKeyWithoutPlaintext",
            "GenerateDataKeyPair",
            "GenerateDataKeyPairWithoutPlaintext",
        ]);
    }
    operations
}
