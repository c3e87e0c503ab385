//! What an approver signs: one request of somebody else's, whole, and whether it may be done (R28).

use std::fmt;

use crate::algorithm::Algorithm;
use crate::key::{KeyError, PublicKey};

/// First part of every message, so that no signature over anything else is one of these.
const DOMAIN: &[u8] = b"signet approval v1";

/// A request that waits for approvals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement<'a> {
    /// The trust domain of the authority that it waits at: an approval counts at no other.
    pub trust_domain: &'a str,
    /// Its own id, never used again.
    pub id: &'a str,
    /// 12 digits, or `authority` for what concerns the whole service.
    pub account: &'a str,
    /// The region of the resource; empty where there is none.
    pub region: &'a str,
    /// `ScheduleKeyDeletion`
    pub operation: &'a str,
    /// An ARN, or what else names the thing.
    pub resource: &'a str,
    /// SHA-256 of the canonical parameters: a JSON object, members sorted by name, without white space.
    pub parameters_sha256: [u8; 32],
    /// A principal's ARN, or `operator:ID`.
    pub requester: &'a str,
    /// Unix seconds.
    pub created_at: u64,
    /// Unix seconds; nothing counts from here on.
    pub expires_at: u64,
}

/// An approver's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may be done.
    Approve,
    /// It may not.
    Reject,
}

impl Decision {
    /// `approve` or `reject`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
        }
    }

    /// Reads [`Decision::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Approve, Self::Reject]
            .into_iter()
            .find(|decision| decision.as_str() == text)
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Statement<'_> {
    /// The bytes that are signed: `signet approval v1`, the fields in the order of the struct (times in decimal) and the
    /// decision, each behind its length as 4 bytes, big-endian. No two statements and decisions have the same.
    pub fn message(&self, decision: Decision) -> Vec<u8> {
        let (created, expires) = (self.created_at.to_string(), self.expires_at.to_string());
        let parts: [&[u8]; 12] = [
            DOMAIN,
            self.trust_domain.as_bytes(),
            self.id.as_bytes(),
            self.account.as_bytes(),
            self.region.as_bytes(),
            self.operation.as_bytes(),
            self.resource.as_bytes(),
            &self.parameters_sha256,
            self.requester.as_bytes(),
            created.as_bytes(),
            expires.as_bytes(),
            decision.as_str().as_bytes(),
        ];
        let mut message = Vec::with_capacity(512);
        for part in parts {
            message.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            message.extend_from_slice(part);
        }
        message
    }
}

/// Reads an approver's public key, DER SubjectPublicKeyInfo: Ed25519, or P-256 for ES256.
///
/// # Errors
/// [`KeyError`] for any other key.
pub fn public_key(spki: &[u8]) -> Result<PublicKey, KeyError> {
    let key = PublicKey::from_spki_der(spki)?;
    match key.algorithm() {
        Algorithm::EdDsa | Algorithm::Es256 => Ok(key),
        _ => Err(KeyError::Unsupported("an approver's key is Ed25519 or P-256")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::key::SigningKey;

    #[derive(Clone, Debug, PartialEq)]
    struct Fields {
        texts: [String; 7],
        parameters: [u8; 32],
        times: [u64; 2],
        approve: bool,
    }

    fn message(fields: &Fields) -> Vec<u8> {
        let [trust_domain, id, account, region, operation, resource, requester] = &fields.texts;
        let statement = Statement {
            trust_domain,
            id,
            account,
            region,
            operation,
            resource,
            parameters_sha256: fields.parameters,
            requester,
            created_at: fields.times[0],
            expires_at: fields.times[1],
        };
        statement.message(match fields.approve {
            true => Decision::Approve,
            false => Decision::Reject,
        })
    }

    prop_compose! {
        fn fields()(
            texts in prop::array::uniform7("[a-c/:]{0,3}"),
            parameters in prop::array::uniform32(0u8..2),
            times in prop::array::uniform2(0u64..3),
            approve: bool,
        ) -> Fields {
            Fields { texts, parameters, times, approve }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        // R28: approvals are over canonical bytes.
        #[test]
        fn different_requests_have_different_bytes(one in fields(), other in fields(), at in 0usize..7, to in 0usize..7) {
            prop_assert_eq!(message(&one) == message(&other), one == other);
            // What is moved from the end of one field to the beginning of another, as naive joining would not notice.
            let mut moved = one.clone();
            if let Some(last) = moved.texts[at].pop() {
                moved.texts[to].insert(0, last);
            }
            prop_assert_eq!(message(&one) == message(&moved), one == moved);
        }
    }

    #[test]
    fn the_bytes_are_these() {
        let fields = Fields {
            texts: ["d", "i", "a", "", "o", "r", "q"].map(str::to_owned),
            parameters: [7; 32],
            times: [1, 20],
            approve: true,
        };
        let mut expected = Vec::new();
        for part in [
            &b"signet approval v1"[..],
            b"d",
            b"i",
            b"a",
            b"",
            b"o",
            b"r",
            &[7; 32],
            b"q",
            b"1",
            b"20",
            b"approve",
        ] {
            expected.extend_from_slice(&[0, 0, 0, u8::try_from(part.len()).unwrap()]);
            expected.extend_from_slice(part);
        }
        assert_eq!(message(&fields), expected);
    }

    #[test]
    fn an_approvers_key_is_ed25519_or_p256() {
        for (algorithm, fits) in [
            (Algorithm::EdDsa, true),
            (Algorithm::Es256, true),
            (Algorithm::Es384, false),
        ] {
            let key = SigningKey::generate(algorithm).unwrap();
            let spki = key.public().unwrap().to_spki_der().to_vec();
            assert_eq!(public_key(&spki).is_ok(), fits, "{algorithm}");
        }
        assert!(public_key(b"").is_err());
        assert_eq!(Decision::parse("reject"), Some(Decision::Reject));
        assert_eq!(Decision::parse("Approve"), None);
    }
}
