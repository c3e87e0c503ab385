//! The rule itself, as a function of its settings and the request.

use crate::approval::Unverified;
use crate::settings::Settings;
use signet_plugin::{Artifact, Payload, Refusal, Request, Value, Verdict, allow, refuse};

/// Whether a second person approved what is to be signed.
pub fn decide(settings: &Settings, request: &Request) -> Result<Verdict, Refusal> {
    let requester = requester(settings, request)?;
    let (digest, approval) = match &request.payload {
        Payload::Artifact(artifact) => (digest(artifact), request.caller.attribute("approval")),
        Payload::Token(token) => match token.claim("digest") {
            Some(Value::Text(digest)) => (digest.clone(), token.claim("approval")),
            _ => return refuse("digest_missing", "the claim digest must say what is released"),
        },
    };
    let approval = match approval {
        Some(Value::Text(approval)) => approval,
        Some(_) => return refuse("approval_malformed", "the approval must be a compact JWS"),
        None => return refuse("approval_missing", "a second person must approve this release"),
    };
    let Some(unverified) = Unverified::parse(approval) else {
        return refuse(
            "approval_malformed",
            "the approval must be a compact JWS of the type signet-approval",
        );
    };
    let Some(approver) = settings
        .approvers
        .iter()
        .find(|approver| approver.name == unverified.kid)
    else {
        return refuse("approver_unknown", "whoever signed the approval may not approve");
    };
    if !unverified.is_signed_by(&approver.key) {
        return refuse(
            "approval_not_authentic",
            "the approval is not signed with its approver's key",
        );
    }
    let Some(approval) = unverified.read() else {
        return refuse("approval_malformed", "an approval says digest, profile and exp");
    };
    if approver.is_called(requester) {
        return refuse("approver_is_requester", "nobody approves what they ask for themselves");
    }
    if approval.digest != digest || approval.profile != request.profile {
        return refuse("approval_of_another", "the approval is for another digest or profile");
    }
    if approval.exp <= request.time {
        return refuse("approval_expired", "the approval has expired");
    }
    if approval.exp - request.time > settings.max_seconds {
        return refuse(
            "approval_too_long",
            "the approval is valid for longer than approvals may be",
        );
    }
    allow()
}

/// Who asks, as the caller's identity says; never as the request says.
fn requester<'a>(settings: &Settings, request: &'a Request) -> Result<&'a str, Refusal> {
    let Some(attribute) = &settings.requester else {
        return Ok(&request.caller.subject);
    };
    match request.caller.attribute(attribute) {
        Some(Value::Text(name)) if !name.is_empty() => Ok(name),
        _ => refuse("requester_unknown", "the caller's identity does not say who asks"),
    }
}

/// As an approval writes it.
fn digest(artifact: &Artifact) -> String {
    let digits = artifact.digest.iter().map(|byte| format!("{byte:02x}"));
    format!("{}:{}", artifact.algorithm, digits.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64ct::{Base64UrlUnpadded, Encoding};
    use ed25519_dalek::{Signer, SigningKey};
    use signet_plugin::testing;

    const NOW: u64 = 1_800_000_000;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn settings(requester: Option<&str>) -> Settings {
        let entry = |name: &str, seed| {
            let key = Base64UrlUnpadded::encode_string(key(seed).verifying_key().as_bytes());
            format!("{name}={key}")
        };
        Settings::read(|name| match name {
            "approvers" => Some(Value::Texts(vec![entry("carol", 1), entry("build", 2)])),
            "requester" => requester.map(|name| Value::Text(name.into())),
            _ => None,
        })
        .unwrap()
    }

    fn approval(kid: &str, seed: u8, digest: &str, profile: &str, exp: u64) -> Value {
        let part = |json: String| Base64UrlUnpadded::encode_string(json.as_bytes());
        let header = part(format!(r#"{{"alg":"EdDSA","typ":"signet-approval","kid":"{kid}"}}"#));
        let payload = part(format!(r#"{{"digest":"{digest}","profile":"{profile}","exp":{exp}}}"#));
        let signed = format!("{header}.{payload}");
        let signature = Base64UrlUnpadded::encode_string(&key(seed).sign(signed.as_bytes()).to_bytes());
        Value::Text(format!("{signed}.{signature}"))
    }

    fn ask(approval: Value) -> Result<(), String> {
        let request = testing::artifact(&[("approval", approval)]);
        decide(&settings(None), &request)
            .map(drop)
            .map_err(|refusal| refusal.code)
    }

    fn of_the_artifact() -> String {
        format!("sha256:{}", "07".repeat(32))
    }

    #[test]
    fn a_second_person_approves_this_artifact_for_a_while() {
        let digest = of_the_artifact();
        let carol = |digest: &str, profile: &str, exp| ask(approval("carol", 1, digest, profile, exp));
        assert_eq!(carol(&digest, "release", NOW + 1), Ok(()));
        assert_eq!(carol(&digest, "release", NOW + 86_400), Ok(()));
        assert_eq!(carol(&digest, "release", NOW + 86_401), Err("approval_too_long".into()));
        assert_eq!(carol(&digest, "release", NOW), Err("approval_expired".into()));
        assert_eq!(carol(&digest, "other", NOW + 1), Err("approval_of_another".into()));
        let other = digest.replace("07", "08");
        assert_eq!(carol(&other, "release", NOW + 1), Err("approval_of_another".into()));
        let sha512 = digest.replace("sha256", "sha512");
        assert_eq!(carol(&sha512, "release", NOW + 1), Err("approval_of_another".into()));
    }

    #[test]
    fn the_signature_is_the_named_approvers() {
        let digest = of_the_artifact();
        let by = |kid, seed| ask(approval(kid, seed, &digest, "release", NOW + 1));
        assert_eq!(by("carol", 2), Err("approval_not_authentic".into()));
        assert_eq!(by("eve", 3), Err("approver_unknown".into()));
        assert_eq!(ask(Value::Text("a.b.c".into())), Err("approval_malformed".into()));
        assert_eq!(ask(Value::Texts(vec![])), Err("approval_malformed".into()));
        let none = decide(&settings(None), &testing::artifact(&[]));
        assert_eq!(none.unwrap_err().code, "approval_missing");
    }

    #[test]
    fn nobody_approves_what_they_ask_for() {
        let digest = of_the_artifact();
        let own = approval("build", 2, &digest, "release", NOW + 1);
        assert_eq!(ask(own.clone()), Err("approver_is_requester".into()));
        let with_actor = |actor: Value| {
            let request = testing::artifact(&[("actor", actor), ("approval", own.clone())]);
            decide(&settings(Some("actor")), &request)
                .map(drop)
                .map_err(|refusal| refusal.code)
        };
        assert_eq!(with_actor(Value::Text("alice".into())), Ok(()));
        assert_eq!(
            with_actor(Value::Text("BUILD".into())),
            Err("approver_is_requester".into())
        );
        assert_eq!(with_actor(Value::Text(String::new())), Err("requester_unknown".into()));
        assert_eq!(with_actor(Value::Int(1)), Err("requester_unknown".into()));
    }

    #[test]
    fn a_release_token_carries_its_approval_itself() {
        let digest = of_the_artifact();
        let approval = approval("carol", 1, &digest, "web", NOW + 1);
        let ask = |claims: &[(&str, Value)]| {
            decide(&settings(None), &testing::token(claims, &[]))
                .map(drop)
                .map_err(|refusal| refusal.code)
        };
        let claim = ("digest", Value::Text(digest));
        assert_eq!(ask(&[claim.clone(), ("approval", approval.clone())]), Ok(()));
        assert_eq!(ask(&[claim]), Err("approval_missing".into()));
        assert_eq!(ask(&[("approval", approval)]), Err("digest_missing".into()));
    }
}
