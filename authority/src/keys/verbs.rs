//! The verbs by name: the Cedar action of each, and the function that does it.

use policies::engine::AdminAction;
use serde_json::Value;

use super::data_key::Plaintext::{Shown, Withheld};
use super::{
    Keys, KmsError, KmsErrorType, Session, agree, alias, create, data_key, describe, encrypt, grant, import, mac,
    parse, policy, protection, re_encrypt, region, replica, rotate, rotation_status, sign, state, store, tag, usage,
};

/// The verbs, as the route and the `X-Amz-Target` name them, and the Cedar action of each. `ReEncrypt` asks for
/// [`AdminAction::ReEncryptTo`] as well; `MarkVersionCompromised`, `MarkKeyCompromised`, `HoldKey`, `ReleaseKey` and those of
/// [`replica`] are not KMS's: who may stop a key may mark it, who may take its deletion back may hold it, and who may delete it
/// may release it.
pub const VERBS: &[(&str, AdminAction)] = &[
    ("CreateKey", AdminAction::CreateKey),
    ("DescribeKey", AdminAction::DescribeKey),
    ("ListKeys", AdminAction::ListKeys),
    ("GetPublicKey", AdminAction::GetPublicKey),
    ("EnableKey", AdminAction::EnableKey),
    ("DisableKey", AdminAction::DisableKey),
    ("ScheduleKeyDeletion", AdminAction::ScheduleKeyDeletion),
    ("CancelKeyDeletion", AdminAction::CancelKeyDeletion),
    ("UpdateKeyDescription", AdminAction::UpdateKeyDescription),
    ("CreateAlias", AdminAction::CreateAlias),
    ("UpdateAlias", AdminAction::UpdateAlias),
    ("DeleteAlias", AdminAction::DeleteAlias),
    ("ListAliases", AdminAction::ListAliases),
    ("TagResource", AdminAction::TagResource),
    ("UntagResource", AdminAction::UntagResource),
    ("ListResourceTags", AdminAction::ListResourceTags),
    ("GetKeyPolicy", AdminAction::GetKeyPolicy),
    ("PutKeyPolicy", AdminAction::PutKeyPolicy),
    ("ListKeyPolicies", AdminAction::ListKeyPolicies),
    ("EnableKeyRotation", AdminAction::EnableKeyRotation),
    ("DisableKeyRotation", AdminAction::DisableKeyRotation),
    ("GetKeyRotationStatus", AdminAction::GetKeyRotationStatus),
    ("ListKeyRotations", AdminAction::ListKeyRotations),
    ("RotateKeyOnDemand", AdminAction::RotateKeyOnDemand),
    ("MarkVersionCompromised", AdminAction::DisableKey),
    ("MarkKeyCompromised", AdminAction::DisableKey),
    ("HoldKey", AdminAction::CancelKeyDeletion),
    ("ReleaseKey", AdminAction::ScheduleKeyDeletion),
    ("CreateGrant", AdminAction::CreateGrant),
    ("ListGrants", AdminAction::ListGrants),
    ("ListRetirableGrants", AdminAction::ListRetirableGrants),
    ("RevokeGrant", AdminAction::RevokeGrant),
    ("RetireGrant", AdminAction::RetireGrant),
    ("Encrypt", AdminAction::Encrypt),
    ("Decrypt", AdminAction::Decrypt),
    ("ReEncrypt", AdminAction::ReEncryptFrom),
    ("GenerateDataKey", AdminAction::GenerateDataKey),
    (
        "GenerateDataKeyWithoutPlaintext",
        AdminAction::GenerateDataKeyWithoutPlaintext,
    ),
    ("GenerateDataKeyPair", AdminAction::GenerateDataKeyPair),
    (
        "GenerateDataKeyPairWithoutPlaintext",
        AdminAction::GenerateDataKeyPairWithoutPlaintext,
    ),
    ("GenerateRandom", AdminAction::GenerateRandom),
    ("Sign", AdminAction::Sign),
    ("Verify", AdminAction::VerifyWithKey),
    ("GenerateMac", AdminAction::GenerateMac),
    ("VerifyMac", AdminAction::VerifyMac),
    ("DeriveSharedSecret", AdminAction::DeriveSharedSecret),
    ("Encapsulate", AdminAction::Encapsulate),
    ("Decapsulate", AdminAction::Decapsulate),
    ("GetParametersForImport", AdminAction::GetParametersForImport),
    ("ImportKeyMaterial", AdminAction::ImportKeyMaterial),
    ("DeleteImportedKeyMaterial", AdminAction::DeleteImportedKeyMaterial),
    ("ReplicateKey", AdminAction::ReplicateKey),
    ("UpdatePrimaryRegion", AdminAction::UpdatePrimaryRegion),
    ("GetReplicaIdentity", AdminAction::ListKeys),
    ("ExportReplica", AdminAction::ReplicateKey),
    ("ImportReplica", AdminAction::ReplicateKey),
    ("GetKeyLastUsage", AdminAction::GetKeyLastUsage),
    ("ConnectCustomKeyStore", AdminAction::ConnectCustomKeyStore),
    ("CreateCustomKeyStore", AdminAction::CreateCustomKeyStore),
    ("DeleteCustomKeyStore", AdminAction::DeleteCustomKeyStore),
    ("DescribeCustomKeyStores", AdminAction::DescribeCustomKeyStores),
    ("DisconnectCustomKeyStore", AdminAction::DisconnectCustomKeyStore),
    ("UpdateCustomKeyStore", AdminAction::UpdateCustomKeyStore),
];

/// Runs the session's verb.
pub(super) async fn dispatch(keys: &Keys, on: &Session<'_>, body: &[u8]) -> Result<Value, KmsError> {
    match on.verb() {
        "CreateKey" => create::create_key(keys, on, parse(body)?).await,
        "DescribeKey" => describe::describe_key(keys, on, parse(body)?).await,
        "ListKeys" => describe::list_keys(keys, on, parse(body)?).await,
        "GetPublicKey" => describe::get_public_key(keys, on, parse(body)?).await,
        "EnableKey" => state::enable_key(keys, on, parse(body)?).await,
        "DisableKey" => state::disable_key(keys, on, parse(body)?).await,
        "ScheduleKeyDeletion" => state::schedule_key_deletion(keys, on, parse(body)?).await,
        "CancelKeyDeletion" => state::cancel_key_deletion(keys, on, parse(body)?).await,
        "UpdateKeyDescription" => state::update_key_description(keys, on, parse(body)?).await,
        "CreateAlias" => alias::create_alias(keys, on, parse(body)?).await,
        "UpdateAlias" => alias::update_alias(keys, on, parse(body)?).await,
        "DeleteAlias" => alias::delete_alias(keys, on, parse(body)?).await,
        "ListAliases" => alias::list_aliases(keys, on, parse(body)?).await,
        "TagResource" => tag::tag_resource(keys, on, parse(body)?).await,
        "UntagResource" => tag::untag_resource(keys, on, parse(body)?).await,
        "ListResourceTags" => tag::list_resource_tags(keys, on, parse(body)?).await,
        "RotateKeyOnDemand" => rotate::rotate_key_on_demand(keys, on, parse(body)?).await,
        "MarkVersionCompromised" => rotate::mark_version_compromised(keys, on, parse(body)?).await,
        "MarkKeyCompromised" => protection::mark_key_compromised(keys, on, parse(body)?).await,
        "HoldKey" => protection::hold_key(keys, on, parse(body)?).await,
        "ReleaseKey" => protection::release_key(keys, on, parse(body)?).await,
        _ => beyond(keys, on, body).await,
    }
}

/// Policies, grants, rotation, import, regions.
async fn beyond(keys: &Keys, on: &Session<'_>, body: &[u8]) -> Result<Value, KmsError> {
    match on.verb() {
        "GetKeyPolicy" => policy::get_key_policy(keys, on, parse(body)?).await,
        "PutKeyPolicy" => policy::put_key_policy(keys, on, parse(body)?).await,
        "ListKeyPolicies" => policy::list_key_policies(keys, on, parse(body)?).await,
        "EnableKeyRotation" => rotation_status::enable_key_rotation(keys, on, parse(body)?).await,
        "DisableKeyRotation" => rotation_status::disable_key_rotation(keys, on, parse(body)?).await,
        "GetKeyRotationStatus" => rotation_status::get_key_rotation_status(keys, on, parse(body)?).await,
        "ListKeyRotations" => rotation_status::list_key_rotations(keys, on, parse(body)?).await,
        "CreateGrant" => grant::create_grant(keys, on, parse(body)?).await,
        "ListGrants" => grant::list_grants(keys, on, parse(body)?).await,
        "ListRetirableGrants" => grant::list_retirable_grants(keys, on, parse(body)?).await,
        "RevokeGrant" => grant::revoke_grant(keys, on, parse(body)?).await,
        "RetireGrant" => grant::retire_grant(keys, on, parse(body)?).await,
        "GetParametersForImport" => import::get_parameters_for_import(keys, on, parse(body)?).await,
        "ImportKeyMaterial" => import::import_key_material(keys, on, parse(body)?).await,
        "DeleteImportedKeyMaterial" => import::delete_imported_key_material(keys, on, parse(body)?).await,
        "ReplicateKey" => region::replicate_key(keys, on, parse(body)?).await,
        "UpdatePrimaryRegion" => region::update_primary_region(keys, on, parse(body)?).await,
        "GetReplicaIdentity" => replica::get_replica_identity(keys, on, parse(body)?).await,
        "ExportReplica" => replica::export_replica(keys, on, parse(body)?).await,
        "ImportReplica" => replica::import_replica(keys, on, parse(body)?).await,
        "GetKeyLastUsage" => usage::get_key_last_usage(keys, on, parse(body)?).await,
        _ => cryptographic(keys, on, body).await,
    }
}

/// What is done with key material.
async fn cryptographic(keys: &Keys, on: &Session<'_>, body: &[u8]) -> Result<Value, KmsError> {
    if on.gate.caller().is_none() {
        keys.demand_running(on, on.tenant).await?;
    }
    match on.verb() {
        "Encrypt" => encrypt::encrypt(keys, on, parse(body)?).await,
        "Decrypt" => encrypt::decrypt(keys, on, parse(body)?).await,
        "ReEncrypt" => re_encrypt::re_encrypt(keys, on, parse(body)?).await,
        "GenerateDataKey" => data_key::generate_data_key(keys, on, parse(body)?, Shown).await,
        "GenerateDataKeyWithoutPlaintext" => data_key::generate_data_key(keys, on, parse(body)?, Withheld).await,
        "GenerateDataKeyPair" => data_key::generate_data_key_pair(keys, on, parse(body)?, Shown).await,
        "GenerateDataKeyPairWithoutPlaintext" => {
            data_key::generate_data_key_pair(keys, on, parse(body)?, Withheld).await
        }
        "GenerateRandom" => data_key::generate_random(keys, on, parse(body)?).await,
        "Sign" => sign::sign(keys, on, parse(body)?).await,
        "Verify" => sign::verify(keys, on, parse(body)?).await,
        "GenerateMac" => mac::generate_mac(keys, on, parse(body)?).await,
        "VerifyMac" => mac::verify_mac(keys, on, parse(body)?).await,
        "DeriveSharedSecret" => agree::derive_shared_secret(keys, on, parse(body)?).await,
        "Encapsulate" => agree::encapsulate(keys, on, parse(body)?).await,
        "Decapsulate" => agree::decapsulate(keys, on, parse(body)?).await,
        verb if store::is_verb(verb) => store::refuse(on),
        other => Err(KmsErrorType::UnknownOperation.because(format!("the verb `{other}` is not served"))),
    }
}
