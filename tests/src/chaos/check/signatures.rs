//! Whether what callers received verifies, with nothing but what edges publish and the delegation root.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use signing::Digest;
use signing::certificate::{Certificate, pem_decode};
use signing::delegation::{DelegationError, verify_chain};
use signing::encoding::from_base64url;
use signing::format::raw::{self, Encoding, Payload};
use signing::key::PublicKey;

use super::{Checked, Seen, Violation};
use crate::chaos::load::{Answer, Signed};

/// How many signatures verified, and how many could not be judged.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// Tokens, by keys that edges published.
    pub tokens: usize,
    /// Artifacts, by their chains.
    pub artifacts: usize,
    /// Tokens of keys that no edge was seen to publish.
    pub unpublished: usize,
}

/// What is known of chains that were seen before: one is verified once.
type Chains = HashMap<Arc<str>, Result<PublicKey, String>>;

impl Seen {
    pub(super) fn verified(&self, checked: &mut Checked) {
        let mut chains = Chains::new();
        for (answer, id) in self.signatures() {
            let (count, outcome) = match &answer.signed {
                Some(Signed::Token(token)) => match self.token(token) {
                    Some(outcome) => (&mut checked.verified.tokens, outcome),
                    None => (&mut checked.verified.unpublished, Ok(())),
                },
                Some(Signed::Artifact { signature, chain }) => {
                    let key = chains.entry(chain.clone());
                    let key = key.or_insert_with(|| self.delegated(chain, answer.answered));
                    let outcome = key.clone().and_then(|key| artifact(&key, answer, signature));
                    (&mut checked.verified.artifacts, outcome)
                }
                None => continue,
            };
            match outcome {
                Ok(()) => *count += 1,
                Err(why) => checked.violations.push(Violation::WrongSignature {
                    edge: answer.edge,
                    signature: id.clone(),
                    answered: answer.answered,
                    why,
                }),
            }
        }
    }

    /// None where nobody was seen to publish its key. Its claims are looked at elsewhere.
    fn token(&self, token: &str) -> Option<Result<(), String>> {
        let parts = || {
            let (signed, signature) = token.rsplit_once('.')?;
            let header = from_base64url(signed.split_once('.')?.0)?;
            let header: serde_json::Value = serde_json::from_slice(&header).ok()?;
            Some((signed, from_base64url(signature)?, header))
        };
        let Some((signed, signature, header)) = parts() else {
            return Some(Err(format!("`{token}` is no token")));
        };
        let key = self.published.get(header["kid"].as_str().unwrap_or_default())?;
        if header["alg"] != key.algorithm().as_str() {
            return Some(Err(format!("its algorithm is {}", header["alg"])));
        }
        let verified = key.verify(signed.as_bytes(), &signature);
        Some(verified.map_err(|error| error.to_string()))
    }

    /// The key of a chain's leaf, if the chain leads to the root: at the time of the answer, or at one that an authority's clock
    /// showed. One that holds at none of them is of an authority whose clock was behind the root; its key counts all the same,
    /// as what is checked here is signatures.
    fn delegated(&self, chain: &str, answered: Duration) -> Result<PublicKey, String> {
        let chain = pem_decode("CERTIFICATE", chain).map_err(|error| error.to_string())?;
        let now = i64::try_from((Duration::from_millis(self.begun_ms) + answered).as_secs()).unwrap();
        let mut last = None;
        for step in [0].iter().chain(&self.steps) {
            let at = u64::try_from(now.saturating_add(*step)).unwrap_or(0);
            match verify_chain(&chain, &self.roots, at) {
                Ok(verified) => return Ok(verified.public_key),
                Err(DelegationError::NotYetValid | DelegationError::Expired) if !self.steps.is_empty() => {}
                Err(error) => last = Some(error.to_string()),
            }
        }
        let leaf = chain.first().ok_or("a chain without certificates")?;
        match last {
            Some(error) => Err(error),
            None => Certificate::from_der(leaf)
                .and_then(|leaf| leaf.public_key())
                .map_err(|error| error.to_string()),
        }
    }
}

/// As the request asked for it.
fn artifact(key: &PublicKey, answer: &Answer, signature: &[u8]) -> Result<(), String> {
    let body: serde_json::Value = serde_json::from_str(answer.profile.body).unwrap();
    let digest: Digest = body["digest"].as_str().unwrap().parse().unwrap();
    let verified = raw::verify(key, Payload::Digest(&digest), signature, Encoding::Der);
    verified.map_err(|error| error.to_string())
}
