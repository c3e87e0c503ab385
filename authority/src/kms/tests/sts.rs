use http::header::{AUTHORIZATION, CONTENT_TYPE};
use signing::algorithm::Algorithm;
use signing::claims::Claims;
use signing::format::jwt;
use signing::jwk::Jwk;
use signing::key::{Secret, SigningKey};

use super::*;
use crate::kms::access_key::{AccessKeyRecord, Status};
use crate::testing;

const ISSUER: &str = "https://ci.example";
const SUBJECT: &str = "repo:acme/web";
const ROLE: &str = "arn:aws:iam::000000000001:role/ci";
const POLICY: &str = r#"
@id("ci-lists")
permit (principal is AccountPrincipal, action == Action::"ListKeys", resource == Tenant::"000000000001")
when { principal.kind == "role" && principal.name == "ci" && principal has subject && principal.subject == "repo:acme/web" };
"#;

/// A site whose bundle trusts `key`'s tokens for the role `ci`.
async fn site(key: &SigningKey) -> Site {
    let site = Site::new().await;
    apply(&site, key, "repo:acme/*").await;
    site
}

async fn apply(site: &Site, key: &SigningKey, subject: &str) {
    let mut files = testing::bundle(POLICY);
    let role = format!(
        "\n[[roles]]\nname = \"ci\"\ntenant = \"000000000001\"\nmax_session = \"2h\"\n[[roles.trust]]\nissuer = \"{ISSUER}\"\n\
         audiences = [\"sts.amazonaws.com\"]\nsubject = \"{subject}\"\nalgorithms = [\"ES256\"]\njwks_file = \"trust/ci.json\"\n"
    );
    files[0].1.extend_from_slice(role.as_bytes());
    let jwks = format!("{{\"keys\":[{}]}}", Jwk::from_public(key.public().unwrap()).to_json());
    files.push(("trust/ci.json".to_owned(), jwks.into_bytes()));
    site.bench.publish(files, false).await.unwrap();
}

fn token(site: &Site, key: &SigningKey, change: impl FnOnce(&mut Claims)) -> String {
    let now = site.bench.now();
    let mut claims = Claims {
        iss: Some(ISSUER.to_owned()),
        sub: Some(SUBJECT.to_owned()),
        aud: vec!["sts.amazonaws.com".to_owned()],
        exp: Some(now + 300),
        nbf: None,
        iat: Some(now),
        jti: None,
        extra: Default::default(),
    };
    change(&mut claims);
    jwt::mint(key, &jwt::Header::default(), &claims).unwrap()
}

fn form(parameters: &[(&str, &str)]) -> String {
    let encoded = |text: &str| -> String {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
        text.bytes()
            .map(|b| {
                if plain(b) {
                    char::from(b).to_string()
                } else {
                    format!("%{b:02X}")
                }
            })
            .collect()
    };
    let pairs = parameters
        .iter()
        .map(|(name, value)| format!("{name}={}", encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// Status and body of an unsigned call.
async fn assume(site: &Site, token: &str, change: &[(&str, &str)]) -> (u16, String) {
    let mut parameters = vec![
        ("Action", "AssumeRoleWithWebIdentity"),
        ("Version", "2011-06-15"),
        ("RoleArn", ROLE),
        ("RoleSessionName", "build-7"),
        ("WebIdentityToken", token),
    ];
    parameters.retain(|(name, _)| !change.iter().any(|(changed, _)| changed == name));
    parameters.extend_from_slice(change);
    let request = Request::post("/")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded; charset=utf-8")
        .body(Bytes::from(form(&parameters)))
        .unwrap();
    xml(site.send(request).await)
}

fn xml(response: Response<Bytes>) -> (u16, String) {
    assert_eq!(response.headers()[CONTENT_TYPE], "text/xml");
    (
        response.status().as_u16(),
        String::from_utf8(response.body().to_vec()).unwrap(),
    )
}

fn element<'a>(body: &'a str, name: &str) -> &'a str {
    let (_, rest) = body
        .split_once(&format!("<{name}>"))
        .unwrap_or_else(|| panic!("no {name} in {body}"));
    rest.split_once(&format!("</{name}>")).unwrap().0
}

/// The credentials of an answer, in the form that the signer takes, and the session token.
fn credentials(site: &Site, body: &str) -> (Issued, String) {
    let record = AccessKeyRecord {
        id: element(body, "AccessKeyId").to_owned(),
        account: site.bench.tenant(),
        user: None,
        role: String::new(),
        status: Status::Active,
        created_at: 0,
    };
    let secret = Secret::new(element(body, "SecretAccessKey").as_bytes().to_vec());
    (Issued { record, secret }, element(body, "SessionToken").to_owned())
}

#[tokio::test]
async fn a_trusted_token_becomes_credentials_that_end() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let site = site(&key).await;
    let (status, body) = assume(&site, &token(&site, &key, |_| {}), &[("DurationSeconds", "900")]).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(
        (
            element(&body, "Arn"),
            element(&body, "SubjectFromWebIdentityToken"),
            element(&body, "Provider")
        ),
        ("arn:aws:sts::000000000001:assumed-role/ci/build-7", SUBJECT, ISSUER)
    );
    assert_eq!(
        element(&body, "Expiration"),
        crate::clock::rfc3339(site.bench.now() + 900)
    );
    let (credentials, session) = credentials(&site, &body);
    let sender = Sender {
        key: &credentials,
        token: Some(&session),
        ..site.sender()
    };
    assert_eq!(site.ask(sender, "ListKeys", json!({})).await.0, 200);
    assert_eq!(
        site.ask(sender, "CreateKey", json!({})).await.1["__type"],
        "AccessDeniedException"
    );
    // R9: without its token the key is nobody's, and with another's neither.
    let bare = Sender { token: None, ..sender };
    assert_eq!(
        site.ask(bare, "ListKeys", json!({})).await.1["__type"],
        "UnrecognizedClientException"
    );
    let other = Sender {
        key: &site.root,
        ..sender
    };
    assert_eq!(
        site.ask(other, "ListKeys", json!({})).await.1["__type"],
        "UnrecognizedClientException"
    );
    site.bench.pass(899);
    assert_eq!(site.ask(sender, "ListKeys", json!({})).await.0, 200);
    site.bench.pass(1);
    assert_eq!(
        site.ask(sender, "ListKeys", json!({})).await.1["__type"],
        "ExpiredTokenException"
    );
    let records = site.records().await;
    assert_eq!(
        (records[0]["profile"].as_str(), records[0]["caller"].as_str()),
        (
            Some("sts:AssumeRoleWithWebIdentity"),
            Some("oidc:https://ci.example#repo:acme/web")
        )
    );
    assert_eq!(
        records[1]["caller"],
        "arn:aws:sts::000000000001:assumed-role/ci/build-7"
    );
}

// R6: a session is no longer good when what it rests on is gone.
#[tokio::test]
async fn a_session_ends_with_its_role_and_with_the_trust_in_its_subject() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let site = site(&key).await;
    let (_, body) = assume(&site, &token(&site, &key, |_| {}), &[]).await;
    let (credentials, session) = credentials(&site, &body);
    let sender = Sender {
        key: &credentials,
        token: Some(&session),
        ..site.sender()
    };
    let code = async || site.ask(sender, "ListKeys", json!({})).await.1["__type"].clone();
    apply(&site, &key, "repo:acme/other").await;
    assert_eq!(code().await, "UnrecognizedClientException");
    apply(&site, &key, SUBJECT).await;
    assert_eq!(code().await, Value::Null);
    site.bench.publish(testing::bundle(POLICY), false).await.unwrap();
    assert_eq!(code().await, "UnrecognizedClientException");
}

// R7
#[tokio::test]
async fn tokens_that_no_rule_of_the_role_admits_are_refused() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let stranger = SigningKey::generate(Algorithm::Es256).unwrap();
    let site = site(&key).await;
    let now = site.bench.now();
    let good = token(&site, &key, |_| {});
    let (status, body) = assume(&site, &token(&site, &key, |c| c.exp = Some(now)), &[]).await;
    assert_eq!((status, element(&body, "Code")), (400, "ExpiredTokenException"));
    let invalid = [
        token(&site, &stranger, |_| {}),
        token(&site, &key, |c| c.iss = Some("https://other.example".to_owned())),
        token(&site, &key, |c| c.aud = vec!["other".to_owned()]),
        token(&site, &key, |c| c.iss = None),
        format!("{good}x"),
        "nonsense".to_owned(),
    ];
    let none = "arn:aws:iam::000000000001:role/none";
    for token in invalid {
        let (status, body) = assume(&site, &token, &[]).await;
        assert_eq!(
            (status, element(&body, "Code")),
            (400, "InvalidIdentityToken"),
            "{token}"
        );
        assert!(body.contains("<Type>Sender</Type>") && !body.contains(&token), "{body}");
        // Whether there is such a role is not for those without a token to know.
        let (status, guessed) = assume(&site, &token, &[("RoleArn", none)]).await;
        let said = |body: &str| (element(body, "Code").to_owned(), element(body, "Message").to_owned());
        assert_eq!((status, said(&guessed)), (400, said(&body)), "{token}");
    }
    let late = token(&site, &key, |c| c.exp = Some(now));
    let (status, body) = assume(&site, &late, &[("RoleArn", none)]).await;
    assert_eq!((status, element(&body, "Code")), (400, "ExpiredTokenException"));
    let (status, body) = assume(&site, &good, &[("RoleArn", "arn:aws:iam::000000000002:role/ci")]).await;
    assert_eq!((status, element(&body, "Code")), (400, "InvalidIdentityToken"));
    let denied = [
        assume(
            &site,
            &token(&site, &key, |c| c.sub = Some("repo:evil/web".to_owned())),
            &[],
        )
        .await,
        assume(&site, &good, &[("RoleArn", none)]).await,
    ];
    for (status, body) in denied {
        assert_eq!((status, element(&body, "Code")), (403, "AccessDenied"));
    }
    let (status, body) = assume(&site, &good, &[("DurationSeconds", "7201")]).await;
    assert_eq!((status, element(&body, "Code")), (400, "ValidationError"));
    let (status, body) = assume(&site, &good, &[("Action", "AssumeRole")]).await;
    assert_eq!((status, element(&body, "Code")), (400, "InvalidAction"));
    let records = site.records().await;
    let codes: Vec<_> = records.iter().map(|record| record["code"].as_str().unwrap()).collect();
    assert_eq!(
        codes,
        ["AccessDenied", "ValidationError"],
        "what was refused after the token had been verified: of a role that is not there, and of one that is"
    );
    assert_eq!(records[0]["caller"], format!("oidc:{ISSUER}#{SUBJECT}"));
}

#[tokio::test]
async fn a_caller_is_told_who_it_is() {
    let site = Site::new().await;
    let body = "Action=GetCallerIdentity&Version=2011-06-15";
    let fields = [
        ("host", "localhost"),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let of_sts = Sender {
        service: "sts",
        ..site.sender()
    };
    let (status, answer) = xml(site.send(site.signed(of_sts, &fields, body)).await);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        (
            element(&answer, "Arn"),
            element(&answer, "Account"),
            element(&answer, "UserId")
        ),
        ("arn:aws:iam::000000000001:root", "000000000001", "000000000001")
    );
    let (status, answer) = xml(site.send(site.signed(site.sender(), &fields, body)).await);
    assert_eq!(
        (status, element(&answer, "Code")),
        (403, "SignatureDoesNotMatch"),
        "signed for kms"
    );
    let mut unsigned = site.signed(of_sts, &fields, body);
    unsigned.headers_mut().remove(AUTHORIZATION);
    let (status, answer) = xml(site.send(unsigned).await);
    assert_eq!((status, element(&answer, "Code")), (403, "MissingAuthenticationToken"));
}
