//! The body of a request to verify.

use serde_json::Value;

use super::artifact::payload;
use super::body::{Body, pointer, wrong_type};
use super::{Intent, IntentError, MAX_MESSAGE_BYTES, MAX_TOKEN_BYTES, VerifyIntent};
use crate::profile::Profile;

/// The body of `POST /v1/verify`: `{"token":…, "audience":…}` for a token, `{"signature":BASE64, "digest":… |
/// "message":BASE64, "certificates":[PEM…]}` for a signature; either may name its `profile`. What names the key (the
/// token's `kid`, the chain) is the caller's word until it is verified.
pub struct VerifyRequest {
    profile: Option<String>,
    token: Option<String>,
    certificates: Option<Vec<String>>,
    body: Body,
}

/// Most certificates of a chain.
const MAX_CERTIFICATES: usize = 8;

impl VerifyRequest {
    /// Reads the body far enough to find the profile.
    ///
    /// # Errors
    /// [`IntentError`]; the caller is to blame.
    pub fn parse(body: &[u8]) -> Result<Self, IntentError> {
        let mut body = Body::parse(body)?;
        let (profile, token) = (body.text("profile")?, body.text("token")?);
        let certificates = body.take("certificates").map(certificates).transpose()?;
        if token.as_ref().is_some_and(|token| token.len() > MAX_TOKEN_BYTES) {
            let detail = format!("a token has at most {MAX_TOKEN_BYTES} bytes");
            return Err(IntentError::refused("invalid_request", "/token", detail));
        }
        let request = Self {
            profile,
            token,
            certificates,
            body,
        };
        request.check_shape()?;
        Ok(request)
    }

    /// What no profile could change, so that a mistake of form is told before the token or the chain is looked at.
    fn check_shape(&self) -> Result<(), IntentError> {
        let known = "profile, and either token and audience, or signature, certificates and digest or message";
        self.body.only(&["audience", "signature", "digest", "message"], known)?;
        let chain = self.certificates.as_ref().map(|_| "certificates");
        let artifact = self.body.has(&["signature", "digest", "message"]).or(chain);
        match (&self.token, artifact, self.body.has(&["audience"])) {
            (Some(_), Some(member), _) => Err(IntentError::shape(
                &pointer(member),
                format!("send either `token` or `{member}`, not both"),
            )),
            (None, Some(_), Some(_)) => Err(IntentError::shape("/audience", "only a token has an audience")),
            _ => Ok(()),
        }
    }

    /// The profile's name, if the caller wrote one.
    pub fn profile(&self) -> Option<&str> {
        self.profile.as_deref()
    }

    /// The token, if it is one that is to be verified.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The certificate chain of a signature, PEM, if there is one.
    pub fn certificates(&self) -> Option<&[String]> {
        self.certificates.as_deref()
    }

    /// Reads the rest against the profile.
    ///
    /// # Errors
    /// [`IntentError`]; the caller is to blame.
    pub fn against(mut self, profile: &Profile) -> Result<Intent, IntentError> {
        let intent = match profile.token() {
            Some(_) if self.certificates.is_some() => {
                return Err(IntentError::shape(
                    "/certificates",
                    "the profile mints tokens, which have no certificates",
                ));
            }
            None if self.token.is_some() => {
                return Err(IntentError::shape(
                    "/token",
                    "the profile signs artifacts, send `signature` instead",
                ));
            }
            Some(_) => self.token_intent()?,
            None => self.signature(profile)?,
        };
        Ok(Intent::Verify(intent))
    }

    fn token_intent(&mut self) -> Result<VerifyIntent, IntentError> {
        let audience = self.body.text("audience")?;
        self.finish("profile, token and audience")?;
        match self.token.take() {
            Some(token) => Ok(VerifyIntent::Token { token, audience }),
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
        self.finish("profile, certificates, signature and either digest or message")?;
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

fn certificates(value: Value) -> Result<Vec<String>, IntentError> {
    let Value::Array(items) = value else {
        return Err(wrong_type("/certificates", "a list of PEM texts", &value));
    };
    if items.len() > MAX_CERTIFICATES {
        let detail = format!(
            "a chain has at most {MAX_CERTIFICATES} certificates, not {}",
            items.len()
        );
        return Err(IntentError::refused("invalid_request", "/certificates", detail));
    }
    let text = |item| match item {
        Value::String(text) => Ok(text),
        other => Err(wrong_type("/certificates", "a list of PEM texts", &other)),
    };
    items.into_iter().map(text).collect()
}
