//! Requests that rules judged, kept for trying other versions of the rules: what each rule answered beside what it was asked.
//!
//! Postcard, with a version before it: samples live for days and are not carried over to another version.

use serde::{Deserialize, Serialize};

use crate::failure::RuleError;
use crate::request::Request;
use crate::verdict::Verdict;

/// The first byte of a batch. Another one whenever [`Sample`] or [`Request`] has another form.
const VERSION: u8 = 1;
/// Bytes of the length before each sample, big-endian.
const HEAD: usize = 4;

/// One request, and what the rules of its profile answered, in their order, up to the first that did not allow it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample<'a> {
    /// What they were asked; values that are not to be kept were replaced before.
    #[serde(borrow)]
    pub request: Request<'a>,
    /// What they answered.
    pub answers: Vec<Answered>,
}

/// What one rule answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// The plugin's name.
    pub plugin: String,
    /// What.
    pub answer: Told,
}

/// An answer without values of claims and without texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// It let the request pass.
    Allowed {
        /// The longest lifetime it accepts, seconds.
        cap: Option<u32>,
        /// The names of the claims it adds, sorted.
        claims: Vec<String>,
    },
    /// It refused, with this code.
    Refused(String),
    /// It gave no answer: the kind of failure.
    Failed(String),
}

impl From<&Result<Verdict, RuleError>> for Told {
    fn from(result: &Result<Verdict, RuleError>) -> Told {
        match result {
            Ok(verdict) => {
                let mut claims: Vec<_> = verdict.claims.iter().map(|(name, _)| name.clone()).collect();
                claims.sort_unstable();
                Told::Allowed {
                    cap: verdict.lifetime_cap,
                    claims,
                }
            }
            Err(RuleError::Refused { code, .. }) => Told::Refused(code.clone()),
            Err(RuleError::Failed { kind, .. }) => Told::Failed(kind.as_str().to_owned()),
        }
    }
}

/// Why samples cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// Another version of this program wrote them.
    #[error("the samples were taken by another version of signet; replay them with that one")]
    Version,
    /// They are damaged.
    #[error("the samples are damaged")]
    Damaged,
}

impl<'a> Sample<'a> {
    /// Its bytes, for a batch; none where it cannot be encoded.
    pub fn encode(&self) -> Option<Vec<u8>> {
        postcard::to_allocvec(self).ok()
    }

    /// From [`Sample::encode`].
    ///
    /// # Errors
    /// [`SampleError::Damaged`].
    pub fn decode(bytes: &'a [u8]) -> Result<Sample<'a>, SampleError> {
        match postcard::take_from_bytes(bytes) {
            Ok((sample, [])) => Ok(sample),
            _ => Err(SampleError::Damaged),
        }
    }
}

/// Bytes that a sample of so many takes in a batch, and those of a batch with none.
pub const fn in_batch(sample: usize) -> usize {
    sample.saturating_add(HEAD)
}

/// One batch of encoded samples.
pub fn batch<'s>(samples: impl IntoIterator<Item = &'s [u8]>) -> Vec<u8> {
    let mut batch = vec![VERSION];
    for sample in samples {
        batch.extend_from_slice(&u32::try_from(sample.len()).unwrap_or(u32::MAX).to_be_bytes());
        batch.extend_from_slice(sample);
    }
    batch
}

/// The encoded samples of a batch.
///
/// # Errors
/// [`SampleError`].
pub fn unbatch(batch: &[u8]) -> Result<Vec<&[u8]>, SampleError> {
    let Some((&VERSION, mut rest)) = batch.split_first() else {
        return Err(if batch.is_empty() {
            SampleError::Damaged
        } else {
            SampleError::Version
        });
    };
    let mut samples = Vec::new();
    while !rest.is_empty() {
        let (length, behind) = rest.split_first_chunk::<HEAD>().ok_or(SampleError::Damaged)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let (sample, next) = behind.split_at_checked(length).ok_or(SampleError::Damaged)?;
        samples.push(sample);
        rest = next;
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Argument, ArtifactForm, ArtifactRequest, Caller, Payload, Protocol, TokenRequest};
    use signing::digest::sha256;
    use signing::encoding::hex;

    fn request(payload: Payload<'static>) -> Request<'static> {
        Request {
            profile: "api",
            key: "5f0c1b52-6a0e-4c1e-9c9b-0d1f5a4b7c11",
            format: "jwt",
            tenant: "000000000001",
            caller: Caller {
                id: "oidc:https://ci.example#build",
                kind: "oidc",
                issuer: "https://ci.example",
                subject: "build",
                attributes: vec![("roles", Argument::Texts(vec!["a", "b"])), ("ok", Argument::Bool(true))],
            },
            payload,
            time: 1_800_000_000,
            request_id: "2c1d8f1e-7a57-4f0c-8a55-6a2c8a0f3c10",
            trace_id: None,
            source_address: "192.0.2.1",
            protocol: Protocol::Http3,
        }
    }

    fn samples() -> [Sample<'static>; 2] {
        let token = Payload::Token(TokenRequest {
            subject: Some("alice"),
            audience: vec!["https://api.example"],
            lifetime: 300,
            claims: vec![
                ("a", Argument::Int(-7)),
                ("b", Argument::Float(0.5)),
                ("c", Argument::Json("{\"x\":null}".into())),
                ("d", Argument::Text("t")),
            ],
        });
        let artifact = Payload::Artifact(ArtifactRequest {
            form: ArtifactForm::Message,
            algorithm: "sha256",
            digest: &[7; 32],
        });
        let answered = |plugin: &str, answer| Answered {
            plugin: plugin.to_owned(),
            answer,
        };
        let allowed = Told::Allowed {
            cap: Some(60),
            claims: vec!["plan".to_owned()],
        };
        [
            Sample {
                request: request(token),
                answers: vec![
                    answered("one", allowed),
                    answered("two", Told::Refused("too_long".to_owned())),
                ],
            },
            Sample {
                request: request(artifact),
                answers: vec![answered("one", Told::Failed("timeout".to_owned()))],
            },
        ]
    }

    #[test]
    fn samples_come_out_of_a_batch_as_they_went_in() {
        let samples = samples();
        let encoded: Vec<_> = samples.iter().map(|sample| sample.encode().unwrap()).collect();
        let batch = batch(encoded.iter().map(Vec::as_slice));
        assert_eq!(
            batch.len(),
            1 + encoded.iter().map(|one| in_batch(one.len())).sum::<usize>()
        );
        let read = unbatch(&batch).unwrap();
        let read: Vec<_> = read.into_iter().map(|one| Sample::decode(one).unwrap()).collect();
        assert_eq!(read, samples);
    }

    /// Whoever changes what a sample or a request looks like gives `VERSION` another value, and this the new digest.
    #[test]
    fn the_form_of_a_sample_is_that_of_its_version() {
        let bytes: Vec<u8> = samples().iter().flat_map(|sample| sample.encode().unwrap()).collect();
        assert_eq!(
            (VERSION, hex(&sha256(&bytes)).as_str()),
            (1, "25f5e84d0cd200d4d3ec85301a6af3bb4234a445ab8f771839ae44c621663c5a")
        );
    }

    #[test]
    fn what_is_no_batch_is_refused_and_never_read_past_its_end() {
        let samples = samples();
        let encoded: Vec<_> = samples.iter().map(|sample| sample.encode().unwrap()).collect();
        let whole = batch(encoded.iter().map(Vec::as_slice));
        assert_eq!(unbatch(&[]), Err(SampleError::Damaged));
        assert_eq!(unbatch(&[2, 0, 0, 0, 0]), Err(SampleError::Version));
        let first = 1 + in_batch(encoded[0].len());
        for end in 1..whole.len() {
            let cut = unbatch(&whole[..end]);
            assert_eq!(cut.is_ok(), end == 1 || end == first, "{end}");
        }
        for end in 0..encoded[0].len() {
            assert_eq!(Sample::decode(&encoded[0][..end]), Err(SampleError::Damaged), "{end}");
        }
        let longer = [encoded[0].as_slice(), &[0]].concat();
        assert_eq!(Sample::decode(&longer), Err(SampleError::Damaged));
    }
}
