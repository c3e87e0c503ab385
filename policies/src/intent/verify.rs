//! The body of a request to verify.

use super::artifact::payload;
use super::body::Body;
use super::{Intent, IntentError, MAX_MESSAGE_BYTES, MAX_TOKEN_BYTES, VerifyIntent};
use crate::profile::Profile;

/// The body of `POST /v1/verify`: `{"profile":…, "token":…, "audience":…}` for a token, `{"profile":…,
/// "signature":BASE64, "digest":… | "message":BASE64}` for a signature. The profile is not yet looked up.
pub struct VerifyRequest {
    profile: String,
    body: Body,
}

impl VerifyRequest {
    /// Reads the body far enough to know the profile.
    ///
    /// # Errors
    /// [`IntentError`]; the caller is to blame.
    pub fn parse(body: &[u8]) -> Result<Self, IntentError> {
        let mut body = Body::parse(body)?;
        match body.text("profile")? {
            Some(profile) => Ok(Self { profile, body }),
            None => Err(IntentError::refused(
                "invalid_request",
                "/profile",
                "name the profile it was made with",
            )),
        }
    }

    /// The profile's name as the caller wrote it.
    pub fn profile(&self) -> &str {
        &self.profile
    }

    /// Reads the rest against the profile.
    ///
    /// # Errors
    /// [`IntentError`]; the caller is to blame.
    pub fn against(mut self, profile: &Profile) -> Result<Intent, IntentError> {
        let intent = match profile.token() {
            Some(_) => self.token()?,
            None => self.signature(profile)?,
        };
        Ok(Intent::Verify(intent))
    }

    fn token(&mut self) -> Result<VerifyIntent, IntentError> {
        let token = self.body.text("token")?;
        let audience = self.body.text("audience")?;
        self.finish("profile, token and audience")?;
        match token {
            Some(token) if token.len() <= MAX_TOKEN_BYTES => Ok(VerifyIntent::Token { token, audience }),
            Some(_) => {
                let detail = format!("a token has at most {MAX_TOKEN_BYTES} bytes");
                Err(IntentError::refused("invalid_request", "/token", detail))
            }
            None => Err(IntentError::refused(
                "invalid_request",
                "/token",
                "send the `token` to verify",
            )),
        }
    }

    fn signature(&mut self, profile: &Profile) -> Result<VerifyIntent, IntentError> {
        let signature = self.body.base64("signature", 1024);
        let digest = self.body.text("digest")?;
        let message = self.body.base64("message", MAX_MESSAGE_BYTES);
        self.finish("profile, signature and either digest or message")?;
        let payload = payload(profile.algorithm, digest, message?)?;
        match signature? {
            Some(signature) => Ok(VerifyIntent::Signature { signature, payload }),
            None => Err(IntentError::refused(
                "invalid_request",
                "/signature",
                "send the `signature` to verify",
            )),
        }
    }

    fn finish(&mut self, known: &str) -> Result<(), IntentError> {
        self.body.finish(known)
    }
}
