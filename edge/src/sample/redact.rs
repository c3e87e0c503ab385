//! What a sample has in place of what is not kept: a value of the same kind, so that a rule still finds its claims and attributes.

use policies::bundle::Sampling;
use runtime::{Argument, ArtifactRequest, Caller, Payload, Request, TokenRequest};

/// In place of a text.
const REDACTED: &str = "[redacted]";
/// In place of a digest: as much of it as the digest is long.
const NO_DIGEST: &[u8] = &[0; 64];

/// The request with only those values that are kept. Always there are what the bundle itself says (profile, key, format, tenant,
/// names of attributes and claims), the caller's kind, the protocol, the request's id and time, the lifetime that was asked for, and
/// an artifact's form and algorithm.
pub(super) fn redacted<'a>(request: &Request<'a>, sampling: &Sampling) -> Request<'a> {
    let text = |field: &str, value: &'a str| if sampling.keeps(field) { value } else { REDACTED };
    let caller = &request.caller;
    // Every field is named, so that a new one is not kept before somebody has thought about it.
    Request {
        profile: request.profile,
        key: request.key,
        format: request.format,
        tenant: request.tenant,
        time: request.time,
        request_id: request.request_id,
        protocol: request.protocol,
        caller: Caller {
            id: text("caller.id", caller.id),
            kind: caller.kind,
            issuer: text("caller.issuer", caller.issuer),
            subject: text("caller.subject", caller.subject),
            attributes: values(&caller.attributes, |name| sampling.keeps_attribute(name)),
        },
        payload: match &request.payload {
            Payload::Token(token) => Payload::Token(TokenRequest {
                subject: token.subject.map(|subject| text("token.subject", subject)),
                audience: match sampling.keeps("token.audience") {
                    true => token.audience.clone(),
                    false => texts(&token.audience),
                },
                lifetime: token.lifetime,
                claims: values(&token.claims, |name| sampling.keeps_claim(name)),
            }),
            Payload::Artifact(artifact) => Payload::Artifact(ArtifactRequest {
                form: artifact.form,
                algorithm: artifact.algorithm,
                digest: match sampling.keeps("artifact.digest") {
                    true => artifact.digest,
                    false => NO_DIGEST.get(..artifact.digest.len()).unwrap_or(NO_DIGEST),
                },
            }),
        },
        trace_id: request.trace_id.filter(|_| sampling.keeps("trace_id")),
        source_address: match (sampling.keeps("source_address"), request.source_address.contains(':')) {
            (true, _) => request.source_address,
            (false, true) => "::",
            (false, false) => "0.0.0.0",
        },
    }
}

fn values<'a>(pairs: &[(&'a str, Argument<'a>)], keeps: impl Fn(&str) -> bool) -> Vec<(&'a str, Argument<'a>)> {
    let pairs = pairs.iter().map(|(name, value)| {
        let value = if keeps(name) { value.clone() } else { empty(value) };
        (*name, value)
    });
    pairs.collect()
}

fn empty<'a>(value: &Argument<'a>) -> Argument<'a> {
    match value {
        Argument::Text(_) => Argument::Text(REDACTED),
        Argument::Int(_) => Argument::Int(0),
        Argument::Float(_) => Argument::Float(0.0),
        Argument::Bool(_) => Argument::Bool(false),
        Argument::Texts(list) => Argument::Texts(texts(list)),
        Argument::Json(_) => Argument::Json("null".into()),
    }
}

/// Whether there are any, and not how many.
fn texts<'a>(list: &[&'a str]) -> Vec<&'a str> {
    list.first().map(|_| REDACTED).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::{ArtifactForm, Protocol};
    use std::sync::Arc;

    fn sampling(fields: &str) -> Arc<Sampling> {
        crate::sample::tests::sampling(&[7; 32], &format!("fields = [{fields}]"))
    }

    fn request(payload: Payload<'static>) -> Request<'static> {
        Request {
            profile: "api",
            key: "key",
            format: "jwt",
            tenant: "000000000001",
            caller: Caller {
                id: "oidc:canary-issuer#canary-subject",
                kind: "oidc",
                issuer: "canary-issuer",
                subject: "canary-subject",
                attributes: vec![
                    ("roles", Argument::Texts(vec!["canary-role"])),
                    ("team", Argument::Text("canary-team")),
                ],
            },
            payload,
            time: 7,
            request_id: "id",
            trace_id: Some("canary-trace"),
            source_address: "192.0.2.77",
            protocol: Protocol::Http3,
        }
    }

    fn token() -> Payload<'static> {
        Payload::Token(TokenRequest {
            subject: Some("canary-sub"),
            audience: vec!["canary-audience", "canary-other"],
            lifetime: 300,
            claims: vec![
                ("bool", Argument::Bool(true)),
                ("float", Argument::Float(77.5)),
                ("int", Argument::Int(77)),
                ("json", Argument::Json("{\"canary\":1}".into())),
                ("none", Argument::Texts(vec![])),
                ("text", Argument::Text("canary-text")),
                ("texts", Argument::Texts(vec!["canary-a", "canary-b"])),
            ],
        })
    }

    // R10
    #[test]
    fn nothing_is_kept_that_is_not_listed_and_kinds_stay() {
        let sampling = sampling("");
        let token = redacted(&request(token()), &sampling);
        let shown = format!("{token:?}");
        assert!(
            !shown.contains("canary") && !shown.contains("77") && !shown.contains("true"),
            "{shown}"
        );
        let Payload::Token(asked) = &token.payload else {
            panic!()
        };
        assert_eq!(
            (asked.subject, &asked.audience, asked.lifetime),
            (Some(REDACTED), &vec![REDACTED], 300)
        );
        let expected = [
            ("bool", Argument::Bool(false)),
            ("float", Argument::Float(0.0)),
            ("int", Argument::Int(0)),
            ("json", Argument::Json("null".into())),
            ("none", Argument::Texts(vec![])),
            ("text", Argument::Text(REDACTED)),
            ("texts", Argument::Texts(vec![REDACTED])),
        ];
        assert_eq!(asked.claims, expected);
        assert_eq!((token.profile, token.time, token.request_id), ("api", 7, "id"));
        assert_eq!((token.source_address, token.trace_id), ("0.0.0.0", None));
        let artifact = Payload::Artifact(ArtifactRequest {
            form: ArtifactForm::Digest,
            algorithm: "sha384",
            digest: &[77; 48],
        });
        let Payload::Artifact(artifact) = redacted(&request(artifact), &sampling).payload else {
            panic!()
        };
        assert_eq!((artifact.algorithm, artifact.digest), ("sha384", &[0; 48][..]));
    }

    #[test]
    fn what_is_listed_is_kept_as_it_is() {
        let all = "\"caller.id\", \"caller.issuer\", \"caller.subject\", \"caller.attributes.roles\", \"caller.attributes.team\", \
                   \"token.subject\", \"token.audience\", \"source_address\", \"trace_id\", \"token.claims.bool\", \
                   \"token.claims.float\", \"token.claims.int\", \"token.claims.json\", \"token.claims.text\", \"token.claims.texts\"";
        let whole = request(token());
        assert_eq!(redacted(&whole, &sampling(all)), whole);
        let one = redacted(&whole, &sampling("\"token.claims.text\""));
        let Payload::Token(asked) = &one.payload else { panic!() };
        assert!(asked.claims.contains(&("text", Argument::Text("canary-text"))));
        assert_eq!(format!("{one:?}").matches("canary").count(), 1);
    }
}
