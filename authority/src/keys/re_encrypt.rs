//! `ReEncrypt`: from one key or context to another, the plaintext never outside.

use policies::engine::AdminAction;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::demand::end_dry_run;
use super::encrypt::{self, Source};
use super::input;
use super::material::current;
use super::{Keys, KmsError, Session};
use crate::crypto::blob::EncryptionContext;
use crate::crypto::{KeySpec, KeyUsage};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ReEncryptRequest {
    ciphertext_blob: Option<String>,
    source_key_id: Option<String>,
    #[serde(default)]
    source_encryption_context: EncryptionContext,
    source_encryption_algorithm: Option<String>,
    destination_key_id: String,
    #[serde(default)]
    destination_encryption_context: EncryptionContext,
    destination_encryption_algorithm: Option<String>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    dry_run_modifiers: Vec<String>,
    #[serde(default)]
    grant_tokens: Vec<String>,
}

pub(super) async fn re_encrypt(
    keys: &Keys,
    session: &Session<'_>,
    request: ReEncryptRequest,
) -> Result<Value, KmsError> {
    let source = Source {
        key_id: request.source_key_id.as_deref(),
        algorithm: encrypt::algorithm(
            "sourceEncryptionAlgorithm",
            request.source_encryption_algorithm.as_deref(),
        )?,
        ciphertext: encrypt::ciphertext(
            request.ciphertext_blob.as_deref(),
            request.dry_run,
            &request.dry_run_modifiers,
        )?,
        context: &request.source_encryption_context,
    };
    let algorithm = encrypt::algorithm(
        "destinationEncryptionAlgorithm",
        request.destination_encryption_algorithm.as_deref(),
    )?;
    let context = &request.destination_encryption_context;
    let reading = session.doing(AdminAction::ReEncryptFrom);
    let from = keys.find_source(&reading, &source).await?;
    let to = keys.resolve(session, &request.destination_key_id).await?;
    let same = from.key.value.id == to.key.value.id;

    let facts = encrypt::facts(&request.grant_tokens, source.algorithm, source.context)?;
    let facts = facts.with("kms:ReEncryptOnSameKey", same);
    keys.decide_source(&reading, &source, &from, &facts).await?;
    let writing = session.doing(AdminAction::ReEncryptTo);
    let facts = encrypt::facts(&request.grant_tokens, algorithm, context)?;
    let facts = facts.with("kms:ReEncryptOnSameKey", same);
    keys.decide_named(&writing, &to, &facts).await?;
    let (from, to) = (from.key, to.key);

    keys.demand_source(session, &from.value, &source)?;
    keys.demand_use(session, &to.value, KeyUsage::EncryptDecrypt)?;
    encrypt::demand_encryption(&to.value, algorithm, context)?;
    end_dry_run(request.dry_run)?;
    let opened = keys.open(&from, &source).await?;
    encrypt::check_plaintext(&to.value, algorithm, &opened.plaintext)?;
    let ciphertext = keys.seal(&to, algorithm, context, &opened.plaintext).await?;
    keys.note_opened(session, &from.value, opened.version);
    // Of one key the request is one use.
    if !same {
        keys.note_use(session, &to.value);
    }

    let mut answer = Map::new();
    let mut set = |name: &str, value: Value| answer.insert(name.to_owned(), value);
    set("CiphertextBlob", json!(input::base64(&ciphertext)));
    set("SourceKeyId", json!(keys.arn(&from.value)));
    set("KeyId", json!(keys.arn(&to.value)));
    set("SourceEncryptionAlgorithm", json!(source.algorithm));
    set("DestinationEncryptionAlgorithm", json!(algorithm));
    if let Some(id) = opened.material_id {
        set("SourceKeyMaterialId", json!(id));
    }
    if to.value.spec == KeySpec::SymmetricDefault {
        set("DestinationKeyMaterialId", json!(current(&to.value)?.kid));
    }
    Ok(Value::Object(answer))
}
