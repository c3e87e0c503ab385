//! The body of a request for a signature.

use signing::Algorithm;
use signing::digest::{Digest, DigestError};

use super::body::{Body, shorten};
use super::{ArtifactIntent, IntentError, MAX_MESSAGE_BYTES, Payload};
use crate::profile::Profile;

pub(super) fn parse(profile: &Profile, body: &[u8]) -> Result<ArtifactIntent, IntentError> {
    if profile.artifact().is_none() {
        let detail = format!(
            "the profile `{}` mints tokens, ask at /v1/tokens/{}",
            profile.name, profile.name
        );
        return Err(IntentError::refused("invalid_request", "", detail));
    }
    let mut body = Body::parse(body)?;
    let digest = body.text("digest")?;
    let message = body.base64("message", MAX_MESSAGE_BYTES);
    body.finish("either digest or message")?;
    Ok(ArtifactIntent {
        payload: payload(profile.algorithm, digest, message?)?,
    })
}

/// Exactly one of a digest, of the hash the algorithm takes, and a message.
pub(super) fn payload(
    algorithm: Algorithm,
    digest: Option<String>,
    message: Option<Vec<u8>>,
) -> Result<Payload, IntentError> {
    match (digest, message) {
        (None, Some(message)) => Ok(Payload::Message(message)),
        (Some(text), None) => {
            let expected = algorithm.digest().ok_or_else(|| {
                let detail = format!("{algorithm} signs whole messages: send `message` with the bytes in base64");
                IntentError::refused("unsupported_digest", "/digest", detail)
            })?;
            let digest = text.parse::<Digest>().map_err(|error| match error {
                DigestError::Algorithm(_) => {
                    let named = shorten(text.split(':').next().unwrap_or_default());
                    let detail = format!("`{named}` digests are not taken, send a {expected} digest");
                    IntentError::refused("unsupported_digest", "/digest", detail)
                }
                other => IntentError::refused("invalid_request", "/digest", other.to_string()),
            })?;
            if digest.algorithm() == expected {
                return Ok(Payload::Digest(digest));
            }
            let detail = format!("{algorithm} signs {expected} digests, not {}", digest.algorithm());
            Err(IntentError::refused("unsupported_digest", "/digest", detail))
        }
        (Some(_), Some(_)) => Err(IntentError::refused(
            "invalid_request",
            "/digest",
            "send either `digest` or `message`, not both",
        )),
        (None, None) => {
            let detail = match algorithm.digest() {
                Some(hash) => format!("send `digest` (\"{hash}:HEX\") or `message` (base64)"),
                None => "send `message` (base64)".to_owned(),
            };
            Err(IntentError::refused("invalid_request", "", detail))
        }
    }
}
