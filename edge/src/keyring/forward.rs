//! Keys that no edge holds (delegation `none`): what is to be signed leaves for the authority, and counts as signed once a
//! signature of it has come back that verifies.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use node::contract::SignInHsmRequest;
use node::contract::sign_in_hsm_request::Input;
use policies::intent::{Intent, Payload};
use policies::permit::Cleared;
use signing::algorithm::Algorithm;
use signing::certificate::pem_encode;
use signing::encoding::base64url;
use signing::format::jwt;
use signing::format::raw;
use signing::key::PublicKey;
use signing::signature::fixed_to_der;

use super::known::{Delegation, LogicalKey, Version};
use super::sign::{At, SignError, Signed, Statement, encoding, payload, written};
use super::{Keyring, Slot};

/// What the authority is asked to sign. Only [`Keyring::forward`] makes one, and only of what was cleared.
#[derive(Debug)]
pub struct Forward {
    cleared: Cleared,
    form: Form,
    algorithm: Algorithm,
    public: PublicKey,
    digest: [u8; 32],
    id: String,
    caller: String,
}

/// What becomes of the signature.
enum Form {
    Token { input: String, expires_at: u64 },
    Artifact(raw::Encoding),
}

/// What is to become a token stays out of logs, as the token does.
impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Form::Token { expires_at, .. } => write!(f, "Token([redacted], expires_at {expires_at})"),
            Form::Artifact(encoding) => write!(f, "Artifact({encoding:?})"),
        }
    }
}

impl Keyring {
    /// Whether the authority signs with this key, and no edge.
    pub fn is_forwarded(&self, key_id: &str) -> bool {
        let table = self.table.load();
        let slot = table.keys.get(key_id);
        slot.is_some_and(|slot| slot.key.delegation == Delegation::None)
    }

    /// What [`Keyring::sign`] would sign, for the authority. Whatever stops a signature here stops this one, the lease among
    /// it: a fence counts on no edge answering later.
    pub fn forward(&self, cleared: Cleared, issuer: Option<&str>, id: &str, at: &At<'_>) -> Result<Forward, SignError> {
        let table = self.table.load();
        let Slot { key, .. } = table.demand(&cleared, at)?;
        let version = signing_version(key, at.now)?;
        let public = version.public.as_ref().and_then(|verifier| verifier.public_key());
        let public = public.ok_or(SignError::Unavailable)?.clone();
        let profile = cleared.profile();
        let (form, digest) = match (cleared.intent(), profile.token(), profile.artifact()) {
            (Intent::Token(intent), Some(format), _) => {
                let issuer = issuer.ok_or_else(|| SignError::Mismatch("the profile's issuer is not known".into()))?;
                let (header, claims, expires_at) = written(format, intent, cleared.lifetime(), issuer, id, at.now)?;
                let input = jwt::signing_input(key.algorithm, &version.kid, &header, claims)?;
                let digest = signing::digest::sha256(input.as_bytes());
                (Form::Token { input, expires_at }, digest)
            }
            (Intent::Artifact(intent), _, Some(format)) => {
                let (_, digest) = payload(&intent.payload);
                (Form::Artifact(encoding(format)), digest)
            }
            _ => return Err(SignError::Mismatch("the intent is not of the profile's kind".into())),
        };
        Ok(Forward {
            algorithm: key.algorithm,
            id: id.to_owned(),
            caller: at.caller.to_owned(),
            cleared,
            form,
            public,
            digest,
        })
    }

    /// The key that has a version `kid` which verifiers are to accept at `now`, and is no edge's own: that version's public half
    /// (PEM), and whether the key signs.
    pub fn published(&self, kid: &str, now: u64) -> Option<(String, bool)> {
        let table = self.table.load();
        let Slot { key, .. } = table.keys.get(table.index.kids.get(kid)?)?;
        let version = key.version(kid).filter(|version| version.is_valid(now))?;
        if key.delegation == Delegation::Own || table.revoked {
            return None;
        }
        let public = version.public.as_ref()?.public_key()?;
        let stopped = table.stops.has_tenant(key.facts.tenant()) || table.stops.has_key(key.facts.id());
        Some((pem(public), key.state == super::State::Enabled && !stopped))
    }
}

impl Forward {
    /// The call, by this process.
    pub fn request(&self, incarnation: &str) -> SignInHsmRequest {
        let input = match (&self.form, self.cleared.intent()) {
            (Form::Token { input, .. }, _) => Some(Input::Token(input.clone().into_bytes())),
            (Form::Artifact(_), Intent::Artifact(intent)) => Some(match &intent.payload {
                Payload::Digest(digest) => Input::Digest(digest.as_bytes().to_vec()),
                Payload::Message(message) => Input::Message(message.clone()),
            }),
            _ => None,
        };
        SignInHsmRequest {
            key_id: self.cleared.key_id().to_owned(),
            kid: self.public.thumbprint().to_owned(),
            input,
            profile: self.cleared.profile().name.clone(),
            incarnation: incarnation.to_owned(),
            request_id: self.id.clone(),
            caller: self.caller.clone(),
        }
    }

    /// With the authority's signature (JOSE fixed form for ECDSA), which must be one of exactly this by exactly this key.
    pub fn signed(self, signature: &[u8]) -> Result<Signed, SignError> {
        let wrong = || SignError::Authority("its signature does not verify, and is withheld".into());
        let statement = match (self.form, self.cleared.intent()) {
            (Form::Token { input, expires_at }, _) => {
                let verified = self.public.verify(input.as_bytes(), signature);
                verified.map_err(|_| wrong())?;
                let token = format!("{input}.{}", base64url(signature));
                Statement::Token { token, expires_at }
            }
            (Form::Artifact(encoding), Intent::Artifact(intent)) => {
                let (payload, _) = payload(&intent.payload);
                let verified = raw::verify(&self.public, payload, signature, raw::Encoding::Fixed);
                verified.map_err(|_| wrong())?;
                let signature = match encoding {
                    raw::Encoding::Der if self.algorithm.is_ecdsa() => {
                        fixed_to_der(self.algorithm, signature).map_err(|_| wrong())?
                    }
                    _ => signature.to_vec(),
                };
                Statement::Artifact {
                    signature: BASE64_STANDARD.encode(signature),
                    certificates: Vec::new().into(),
                    public_key: Some(pem(&self.public)),
                }
            }
            _ => return Err(SignError::Mismatch("the intent is not of the profile's kind".into())),
        };
        Ok(Signed {
            statement,
            algorithm: self.algorithm,
            kid: self.public.thumbprint().to_owned(),
            digest: self.digest,
            cleared: self.cleared,
        })
    }
}

/// The newest version whose turn it is.
fn signing_version(key: &LogicalKey, now: u64) -> Result<&Version, SignError> {
    let signing = key.versions.iter().filter(|version| version.signs(now));
    signing
        .max_by_key(|version| version.sign_from)
        .ok_or_else(|| match key.signs_from(now) {
            Some(from) if from > now => SignError::NotYet(from.saturating_sub(now)),
            _ => SignError::Unavailable,
        })
}

fn pem(public: &PublicKey) -> String {
    pem_encode("PUBLIC KEY", public.to_spki_der())
}
