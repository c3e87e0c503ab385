//! Signatures for edges by keys that no edge holds (delegation `none`), over what an edge has cleared.
//!
//! The edge is not believed: that it may, and that the key is alive, is read from rows of this very moment, as for a delegation;
//! what a token key signs is a token that the named profile could have made, and never bytes of the edge's choice (R38).

use std::sync::Arc;

use node::contract::sign_in_hsm_request::Input;
use node::contract::{SignInHsmRequest, SignInHsmResponse};
use policies::engine::DelegationMode;
use policies::profile::{Kind, Profile, TokenProfile};
use signing::digest::{Digest, sha256};
use signing::format::jwt::{self, AlgorithmName};
use signing::key::{PublicKey, SigningKey};
use signing::signature::der_to_fixed;

use super::{Delegations, demand_usable};
use crate::bundle::InForce;
use crate::edges::KnownEdge;
use crate::fault::Fault;
use crate::halts;
use crate::hsm::queue::on_behalf_of;
use crate::hsm::{Prehashed, WrappedKey};
use crate::keys::{Custody, Delegation, Family, KeyRecord, secret};
use crate::kms::Decided;
use crate::names::{check_incarnation, shown};
use crate::rotation::Version;

/// Bytes of what is signed: an artifact in one message, as edges take it.
const MAX_INPUT: usize = 64 << 10;
/// Seconds by which a token's `iat` may be away from this clock.
const SKEW: u64 = 60;

impl Delegations {
    /// Makes one signature. `decided` is filled for the record, also where it is refused.
    pub(crate) async fn sign(
        &self,
        edge: &KnownEdge,
        request: SignInHsmRequest,
        decided: &mut Decided,
    ) -> Result<SignInHsmResponse, Fault> {
        check_incarnation(&request.incarnation)?;
        let input = bounded(request.input)?;
        decided.digest = Some(sha256(bytes(&input)));
        let held = self.find(&request.key_id).await?;
        let key = &held.value;
        (decided.key, decided.tenant) = (Some(key.id.clone()), Some(key.tenant.to_string()));
        demand_usable(key, Delegation::None)?;
        decided
            .policies
            .extend(self.authorize(edge, key, DelegationMode::None)?);
        let now = self.clock.now();
        let signs = |version: &&Version| version.kid == request.kid && version.signs(now);
        let version = key.versions.iter().find(signs).ok_or_else(|| {
            let kid = shown(&request.kid);
            Fault::state("key_unavailable", format!("no version `{kid}` of this key signs now"))
        })?;
        decided.kid = Some(version.kid.clone());
        let asked = Asked {
            key,
            version,
            request_id: &request.request_id,
            now,
        };
        asked.check(&self.bundles.in_force(), &request.profile, &input)?;
        let signature = on_behalf_of(&key.tenant, self.signature(key, version, &input)).await?;
        self.demand_unchanged(edge, &held).await?;
        halts::demand_delegable(&self.vault, &key.tenant, &key.id, edge.id()).await?;
        Ok(SignInHsmResponse {
            signature,
            kid: version.kid.clone(),
        })
    }

    /// JOSE fixed form for ECDSA.
    async fn signature(&self, key: &KeyRecord, version: &Version, input: &Input) -> Result<Vec<u8>, Fault> {
        let other = || Fault::Corrupt {
            detail: format!("the material of `{}` is of another key", key.id),
        };
        match key.custody {
            Custody::Wrapped => {
                let algorithm = key.algorithm().ok_or_else(other)?;
                let pair = SigningKey::import(algorithm, &secret(&self.vault, key, version).await?)?;
                if pair.kid() != version.kid {
                    return Err(other());
                }
                match (input, algorithm.digest()) {
                    (Input::Digest(digest), Some(hash)) => {
                        let digest = Digest::new(hash, digest).map_err(|error| invalid(error.to_string()))?;
                        Ok(pair.sign_digest(&digest)?)
                    }
                    (Input::Digest(_), None) => Err(invalid("this key signs whole messages")),
                    (Input::Token(message) | Input::Message(message), _) => Ok(pair.sign(message)?),
                }
            }
            Custody::Token => {
                let row = self.vault.get::<WrappedKey>(&key.material(version.number)).await?;
                let wrapped = row.ok_or_else(other)?.value;
                if PublicKey::from_spki_der(&wrapped.spki_der)?.thumbprint() != version.kid {
                    return Err(other());
                }
                let digest = match input {
                    Input::Digest(digest) => Prehashed::from_bytes(wrapped.curve, digest)
                        .map_err(|_| invalid("the digest is not of the key's hash"))?,
                    Input::Token(message) | Input::Message(message) => Prehashed::of(wrapped.curve, message),
                };
                let der = self.vault.hsm().sign_wrapped_digest(&wrapped, &digest).await?;
                der_to_fixed(wrapped.curve.algorithm(), &der).map_err(|error| Fault::internal(error.to_string()))
            }
        }
    }
}

/// One request, with the key and the version that it found.
struct Asked<'a> {
    key: &'a KeyRecord,
    version: &'a Version,
    request_id: &'a str,
    now: u64,
}

impl Asked<'_> {
    /// Whether this may be signed by that profile, with this key.
    fn check(&self, in_force: &InForce, profile: &str, input: &Input) -> Result<(), Fault> {
        let key = self.key;
        let named = |known: &&Arc<Profile>| known.tenant == key.tenant.as_str() && known.name == profile;
        let signs = |known: &Profile| known.key == key.id || key.aliases.contains(&known.key);
        let profiles = &in_force.bundle.profiles;
        let profile = profiles
            .iter()
            .find(named)
            .filter(|known| signs(known))
            .ok_or_else(|| {
                let profile = shown(profile);
                Fault::state(
                    "no_profile",
                    format!("no profile `{profile}` signs with the key `{}`", key.id),
                )
            })?;
        match (key.family, profile.kind(), profile.token(), input) {
            (Family::Token, Kind::Token, Some(token), Input::Token(input)) => self.check_token(in_force, token, input),
            (Family::Artifact, Kind::Artifact, _, Input::Message(_) | Input::Digest(_)) => Ok(()),
            (family, ..) => Err(Fault::denied(
                "wrong_family",
                format!("a key of family `{}` signs nothing of this kind (R38)", family.as_str()),
            )),
        }
    }

    /// R38: a token of this key, this issuer and this profile, made now, and not a byte else.
    fn check_token(&self, in_force: &InForce, profile: &TokenProfile, input: &[u8]) -> Result<(), Fault> {
        let refuse = |what: &str| Fault::denied("not_a_token", format!("what is to be signed is refused: {what}"));
        let text = std::str::from_utf8(input).map_err(|_| refuse("it is not text"))?;
        // As a token whose signature is empty.
        let seen =
            jwt::inspect(&format!("{text}."), jwt::DEFAULT_MAX_LEN).map_err(|error| refuse(&error.to_string()))?;
        let (header, claims) = (seen.header, seen.claims);
        let named = profile.algorithm_name.as_deref().and_then(|name| name.parse().ok());
        let name: AlgorithmName = named.unwrap_or_default();
        let algorithm = self.key.algorithm().map(|algorithm| name.name(algorithm));
        if algorithm != Some(header.alg.as_str()) {
            return Err(refuse("its `alg` is not the key's"));
        }
        if header.kid.as_deref() != Some(self.version.kid.as_str()) {
            return Err(refuse("its `kid` is not the version's"));
        }
        if header.typ.as_deref() != Some(profile.typ.as_str()) {
            return Err(refuse("its `typ` is not the profile's"));
        }
        let iss = claims.iss.as_deref().unwrap_or_default();
        let url = in_force
            .bundle
            .issuer(&profile.issuer)
            .and_then(|issuer| issuer.url.as_deref());
        let is_issuer = match url {
            Some(url) => iss == url,
            // The edge's own URL comes before it.
            None => iss.ends_with(&format!("/i/{}", profile.issuer)),
        };
        if !is_issuer {
            return Err(refuse("its `iss` is not the profile's issuer"));
        }
        if !claims.aud.iter().all(|audience| profile.audiences.allows(audience)) {
            return Err(refuse("the profile has no such audience"));
        }
        if claims.jti.as_deref() != Some(self.request_id) {
            return Err(refuse("its `jti` is not the request's id"));
        }
        let (Some(iat), Some(exp)) = (claims.iat, claims.exp) else {
            return Err(refuse("it has no `iat` or no `exp`"));
        };
        if iat.abs_diff(self.now) > SKEW {
            return Err(refuse("its `iat` is not the present time"));
        }
        if exp.saturating_sub(iat) > u64::from(profile.max_lifetime) {
            return Err(refuse("it lives for longer than the profile lets it"));
        }
        Ok(())
    }
}

fn invalid(message: impl Into<String>) -> Fault {
    Fault::invalid("bad_request", message)
}

fn bytes(input: &Input) -> &[u8] {
    match input {
        Input::Token(bytes) | Input::Message(bytes) | Input::Digest(bytes) => bytes,
    }
}

fn bounded(input: Option<Input>) -> Result<Input, Fault> {
    let input = input.ok_or_else(|| invalid("say what is to be signed: a token, a message or a digest"))?;
    match bytes(&input).len() {
        ..=MAX_INPUT => Ok(input),
        more => Err(invalid(format!(
            "{more} bytes are to be signed, at most {MAX_INPUT} are taken"
        ))),
    }
}

#[cfg(test)]
mod tests;
