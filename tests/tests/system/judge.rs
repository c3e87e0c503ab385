//! What a demanding user and an attacker try: the API does what its description says, and mistakes are told where they are
//! made.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use system_tests::{Answer, Dev, checkout, run, within};

/// One request of the surface, by the path in the description.
fn occurs(dev: &Dev) -> Vec<(&'static str, &'static str, Answer)> {
    let token = dev.mint("api", r#"{"subject":"alice"}"#);
    let digest = format!("sha256:{}", "ab".repeat(32));
    let signed = dev
        .curl("/v1/signatures/release")
        .post(&json!({"digest": digest}).to_string())
        .json();
    let kid = signed["kid"].as_str().unwrap();
    let chain = json!({"digest": digest, "signature": signed["signature"], "certificates": signed["certificates"]});
    let etag = dev
        .anonymous("/i/dev/.well-known/jwks.json")
        .get()
        .field("etag")
        .unwrap();
    let tokens = "/v1/tokens/{profile}";
    let batch = "/v1/tokens/{profile}/batch";
    let signatures = "/v1/signatures/{profile}";
    let jwks = "/i/{issuer}/.well-known/jwks.json";
    let api = || dev.curl("/v1/tokens/api");
    let limited = || dev.curl("/v1/tokens/limited").post("{}");
    let mixed = r#"{"requests":[{},{"subject":"root"},{"subject":1},{"claims":{"role":"admin"}}]}"#;
    let verify = |body: &str| dev.curl("/v1/verify").post(body);
    vec![
        (tokens, "post", api().post(r#"{"subject":"alice"}"#)),
        (tokens, "post", api().post("{")),
        (tokens, "post", api().post(r#"{"subject":1}"#)),
        (tokens, "post", dev.anonymous("/v1/tokens/api").post("{}")),
        (tokens, "post", api().post(r#"{"subject":"root"}"#)),
        (tokens, "post", api().post(r#"{"claims":{"role":"admin"}}"#)),
        (tokens, "post", dev.curl("/v1/tokens/none").post("{}")),
        (
            tokens,
            "post",
            api().header("Transfer-Encoding: chunked").arg("--http1.1").post("{}"),
        ),
        (tokens, "post", api().post(&" ".repeat((128 << 10) + 1))),
        (
            tokens,
            "post",
            api().header("Content-Type: text/plain").send_body("POST", "{}"),
        ),
        (tokens, "post", api().post(r#"{"lifetime":0}"#)),
        (
            tokens,
            "post",
            [limited(), limited(), limited(), limited()].into_iter().last().unwrap(),
        ),
        (
            tokens,
            "post",
            api()
                .header(&format!("X-Fat: {}", "a".repeat(30 << 10)))
                .arg("--http1.1")
                .post("{}"),
        ),
        (batch, "post", dev.curl("/v1/tokens/api/batch").post(mixed)),
        (batch, "post", dev.curl("/v1/tokens/api/batch").post("[[{}]]")),
        (batch, "post", dev.curl("/v1/tokens/none/batch").post(mixed)),
        (
            signatures,
            "post",
            dev.curl("/v1/signatures/release")
                .post(&json!({"digest": digest}).to_string()),
        ),
        (signatures, "post", dev.curl("/v1/signatures/release").post("{}")),
        ("/v1/verify", "post", verify(&json!({"token": token}).to_string())),
        ("/v1/verify", "post", verify(&chain.to_string())),
        ("/v1/verify", "post", verify(r#"{"token":"a.b.c"}"#)),
        ("/v1/verify", "post", verify(r#"{"token":"a.b.c","surprise":1}"#)),
        (
            "/v1/verify",
            "post",
            verify(&json!({"profile": "release", "digest": digest, "signature": "AA=="}).to_string()),
        ),
        (
            "/v1/delegations/{kid}",
            "get",
            dev.anonymous(&format!("/v1/delegations/{kid}")).get(),
        ),
        (
            "/v1/delegations/{kid}",
            "get",
            dev.anonymous("/v1/delegations/none").get(),
        ),
        (jwks, "get", dev.anonymous("/i/dev/.well-known/jwks.json").get()),
        (
            jwks,
            "get",
            dev.anonymous("/i/dev/.well-known/jwks.json")
                .header(&format!("If-None-Match: {etag}"))
                .get(),
        ),
        (
            jwks,
            "head",
            dev.anonymous("/i/dev/.well-known/jwks.json").arg("-I").get(),
        ),
        (jwks, "get", dev.anonymous("/i/none/.well-known/jwks.json").get()),
        (
            "/i/{issuer}/.well-known/openid-configuration",
            "get",
            dev.anonymous("/i/dev/.well-known/openid-configuration").get(),
        ),
        ("/livez", "get", dev.anonymous("/livez").get()),
        ("/readyz", "get", dev.anonymous("/readyz").get()),
        ("/metrics", "get", dev.anonymous("/metrics").get()),
        ("/openapi.json", "get", dev.anonymous("/openapi.json").get()),
        ("/openapi.json", "get", dev.anonymous("/openapi.json").post("{}")),
    ]
}

/// Why a value is not of a schema: no member unknown to it, none missing, each of its type.
fn misfit(api: &Value, schema: &Value, value: &Value, at: &str) -> Option<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        return misfit(api, api.pointer(&reference[1..]).unwrap(), value, at);
    }
    if let Some(either) = schema["oneOf"].as_array() {
        let fits = either.iter().any(|one| misfit(api, one, value, at).is_none());
        return (!fits).then(|| format!("{at}: none of them: {value}"));
    }
    let fits = match schema["type"].as_str() {
        Some("string") => value.is_string(),
        Some("integer") => value.is_u64(),
        Some("boolean") => value.is_boolean(),
        Some("array") => {
            let mut items = value.as_array()?.iter();
            return items.find_map(|item| misfit(api, &schema["items"], item, &format!("{at}[]")));
        }
        Some("object") if schema["properties"].is_object() => {
            let Some(members) = value.as_object() else {
                return Some(format!("{at}: no object"));
            };
            let required = schema["required"].as_array().unwrap();
            if let Some(missing) = required
                .iter()
                .find(|name| !members.contains_key(name.as_str().unwrap()))
            {
                return Some(format!("{at}: without {missing}"));
            }
            return members
                .iter()
                .find_map(|(name, value)| match schema["properties"].get(name) {
                    None => Some(format!("{at}: `{name}` is not described")),
                    Some(schema) => misfit(api, schema, value, &format!("{at}/{name}")),
                });
        }
        _ => value.is_object(),
    };
    (!fits).then(|| format!("{at}: {value} is not {schema}"))
}

#[test]
fn the_api_does_what_its_description_says() {
    let dev = Dev::start();
    let api = dev.anonymous("/openapi.json").get().json();
    for (path, method, answer) in occurs(&dev) {
        // A method that a path does not have is described with those it has.
        let described = &api["paths"][path][method]["responses"][answer.status.to_string()];
        assert!(
            described.is_object(),
            "{method} {path} is not described with {answer:?}"
        );
        let Some(described) = described.get("content") else {
            // curl shows the head itself where it asked for no more.
            assert!(
                answer.body.is_empty() || answer.body == answer.head.as_bytes(),
                "{method} {path}: {answer:?}"
            );
            continue;
        };
        let media_type = answer.field("content-type").unwrap();
        let media_type = media_type.split(';').next().unwrap();
        let schema = &described[media_type]["schema"];
        assert!(schema.is_object(), "{method} {path} {}: {media_type}", answer.status);
        if media_type.ends_with("json") {
            assert_eq!(misfit(&api, schema, &answer.json(), path), None, "{answer:?}");
        }
    }
}

#[test]
fn a_body_of_ten_megabytes_is_refused_and_the_client_learns_why() {
    let dev = Dev::start();
    let body = " ".repeat(10 << 20);
    for protocol in ["--http1.1", "--http2"] {
        for path in ["/v1/tokens/api", "/v1/tokens/api/batch"] {
            let answer = dev.curl(path).arg(protocol).header("Expect:").post(&body);
            assert_eq!(
                (answer.status, answer.problem().as_str()),
                (413, "body_too_large"),
                "{protocol} {path}"
            );
        }
    }
    dev.mint("api", "{}");
}

fn copy_of_the_bundle(dev: &Dev) -> PathBuf {
    let copy = dev.data().join("judged");
    run(Command::new("cp").arg("-r").arg(dev.data().join("bundle")).arg(&copy)).success();
    copy
}

fn apply(dev: &Dev, bundle: &Path) -> system_tests::Output {
    dev.cli(&["bundle", "apply", bundle.to_str().unwrap()])
}

// R7: what the edges would not take must not be published, or they would stay behind without a word.
#[test]
fn a_bundle_that_no_edge_would_take_is_refused_when_it_is_applied() {
    let dev = Dev::start();
    let bundle = copy_of_the_bundle(&dev);
    let jwks = bundle.join("trust/dev-callers.jwks.json");
    for keys in [
        r#"{"kty":"oct","k":"AAAA","kid":"x"}"#,
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"AA","kid":"x"}"#,
        r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA","kid":"x"}"#,
        "1",
    ] {
        std::fs::write(&jwks, format!("{{\"keys\":[{keys}]}}")).unwrap();
        let refused = apply(&dev, &bundle);
        assert_ne!(refused.code, 0, "{keys}: {refused:?}");
        assert!(refused.stderr.contains("jwks"), "{keys}: {refused:?}");
    }
    dev.mint("api", "{}");
}

// R20 R22: a rule that loops or traps fails the requests of its profiles, and of those only.
#[test]
fn a_hostile_rule_fails_its_own_profile_and_no_other() {
    let dev = Dev::start();
    let bundle = copy_of_the_bundle(&dev);
    let hostile =
        |name: &str| std::fs::read_to_string(checkout().join(format!("runtime/tests/hostile/{name}.wat"))).unwrap();
    for (rule, kind) in [
        ("loop", "timeout"),
        ("unreachable", "trap"),
        ("recursion", "trap"),
        ("grow-then-trap", "memory"),
    ] {
        let component = hostile("world")
            .replace("{{memory}}", &hostile("memory"))
            .replace("{{rule}}", &hostile(rule));
        std::fs::write(
            bundle.join("plugins/claim-guard.wasm"),
            wat::parse_str(component).unwrap(),
        )
        .unwrap();
        apply(&dev, &bundle).success();
        within(5, "the rule is in force", || {
            dev.curl("/v1/tokens/api").post("{}").status == 503
        });
        let failed = dev.curl("/v1/tokens/api").post("{}");
        assert_eq!(
            (failed.problem().as_str(), &failed.json()["rule"]),
            ("rule_failed", &json!("claim-guard")),
            "{rule}"
        );
        dev.mint("session", "{}");
        let counted = format!("signet_edge_plugin_calls_total{{plugin=\"claim-guard\",outcome=\"{kind}\"}}");
        let metrics = String::from_utf8(dev.anonymous("/metrics").get().body).unwrap();
        let count = metrics.lines().find_map(|line| line.strip_prefix(&counted)).unwrap();
        assert_ne!(count.trim(), "0", "{rule}");
        apply(&dev, &dev.data().join("bundle")).success();
        within(5, "the good rule is back", || {
            dev.curl("/v1/tokens/api").post("{}").status == 201
        });
    }
    // The cause is the operator's to know, and only theirs.
    assert!(dev.log().contains("rule_failed"), "{}", dev.log());
}

#[test]
fn the_log_names_the_request_that_every_refusal_answers() {
    let dir = tempfile::TempDir::new().unwrap();
    let dev = Dev::start_in(&dir.path().join("data"), &["--log", "info"]);
    for answer in [
        dev.anonymous("/v1/tokens/api").bearer("a.b.c").post("{}"),
        dev.anonymous("/v1/tokens/api").post("{}"),
        dev.curl("/v1/tokens/api").post(r#"{"subject":"root"}"#),
        dev.curl("/v1/tokens/api").post(r#"{"subject":1}"#),
    ] {
        let id = answer.json()["request_id"].as_str().unwrap().to_owned();
        within(2, "the log has the request id", || dev.log().contains(&id));
    }
}
