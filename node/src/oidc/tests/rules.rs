use super::*;

fn good() -> IssuerConfig {
    config(&["ES256"], JwksSource::Inline(jwks(&[&Signer::new("k", "ES256")])))
}

fn field(configs: Vec<IssuerConfig>) -> &'static str {
    Issuers::new(configs).map_or_else(|error| error.field, |_| "")
}

// R7
#[test]
fn a_rule_needs_an_exact_issuer_an_audience_and_a_subject_pin() {
    assert_eq!(field(vec![good()]), "");
    for issuer in [
        "",
        "*",
        "https://*.example",
        "https://ci.example#x",
        "https://ci example",
        &"x".repeat(513),
    ] {
        assert_eq!(
            field(vec![IssuerConfig {
                issuer: issuer.into(),
                ..good()
            }]),
            "issuer",
            "{issuer}"
        );
    }
    for audiences in [vec![], vec![""], vec!["*"], vec!["signet", "x*"]] {
        let audiences = audiences.into_iter().map(str::to_owned).collect();
        assert_eq!(field(vec![IssuerConfig { audiences, ..good() }]), "audiences");
    }
    for subject in ["", "*", "**", "repo:*/app", "repo:*:*", "a\nb"] {
        assert_eq!(
            field(vec![IssuerConfig {
                subject: subject.into(),
                ..good()
            }]),
            "subject",
            "{subject}"
        );
    }
}

#[test]
fn the_other_fields_are_checked_too() {
    for algorithms in [vec![], vec!["HS256"], vec!["none"], vec!["ES256", "es256"]] {
        let algorithms = algorithms.into_iter().map(str::to_owned).collect();
        assert_eq!(field(vec![IssuerConfig { algorithms, ..good() }]), "algorithms");
    }
    for tenant in ["", "1", "00000000000a", "0000000000001"] {
        assert_eq!(
            field(vec![IssuerConfig {
                tenant: tenant.into(),
                ..good()
            }]),
            "tenant"
        );
    }
    for (claim, attribute) in [
        ("roles", ""),
        ("roles", "1a"),
        ("roles", "a-b"),
        ("roles", "a.b"),
        ("", "roles"),
    ] {
        let attributes = BTreeMap::from([(claim.to_owned(), attribute.to_owned())]);
        assert_eq!(
            field(vec![IssuerConfig { attributes, ..good() }]),
            "attributes",
            "{claim} {attribute}"
        );
    }
    let twice = BTreeMap::from([("a".to_owned(), "x".to_owned()), ("b".to_owned(), "x".to_owned())]);
    assert_eq!(
        field(vec![IssuerConfig {
            attributes: twice,
            ..good()
        }]),
        "attributes"
    );
}

#[test]
fn a_key_source_must_be_usable() {
    let url = |url: &str| JwksSource::Url {
        url: url.into(),
        roots: Vec::new(),
    };
    for jwks in [
        JwksSource::Inline(b"".to_vec()),
        JwksSource::Inline(br#"{"keys":[]}"#.to_vec()),
        url("nonsense"),
        url("http://keys.example/jwks"),
        url("http://localhost.example/jwks"),
        url("ftp://127.0.0.1/"),
        url("https://user:password@keys.example/"),
        JwksSource::Url {
            url: "https://keys.example/".into(),
            roots: vec![vec![1].into()],
        },
    ] {
        assert_eq!(field(vec![IssuerConfig { jwks, ..good() }]), "jwks");
    }
    assert_eq!(
        field(vec![IssuerConfig {
            jwks: url("http://127.0.0.1:1/jwks"),
            ..good()
        }]),
        ""
    );
}

#[tokio::test]
async fn several_rules_share_an_issuer_if_no_token_can_match_two() {
    let signer = Signer::new("k", "ES256");
    let rule = |subject: &str, tenant: &str| IssuerConfig {
        subject: subject.into(),
        tenant: tenant.into(),
        ..config(&["ES256"], JwksSource::Inline(jwks(&[&signer])))
    };
    let issuers = Issuers::new(vec![
        rule("repo:acme/*", TENANT),
        rule("repo:acme2/app", "000000000002"),
    ])
    .unwrap();
    for (subject, tenant) in [("repo:acme/x", TENANT), ("repo:acme2/app", "000000000002")] {
        let token = signer.token("ES256", &claims_with("sub", json!(subject)));
        assert_eq!(issuers.authenticate(&token, NOW).await.unwrap().tenant(), tenant);
    }
    for (one, two) in [
        ("a*", "a*"),
        ("a*", "ab*"),
        ("ab*", "a*"),
        ("a", "a"),
        ("a*", "ab"),
        ("ab", "a*"),
    ] {
        assert_eq!(
            field(vec![rule(one, TENANT), rule(two, TENANT)]),
            "subject",
            "{one} {two}"
        );
    }
    let elsewhere = IssuerConfig {
        audiences: vec!["other".into()],
        ..rule("a*", TENANT)
    };
    assert_eq!(field(vec![rule("a*", TENANT), elsewhere]), "");
    let mixed = IssuerConfig {
        algorithms: vec!["EdDSA".into(), "ES256".into()],
        ..rule("b", TENANT)
    };
    assert_eq!(field(vec![rule("a", TENANT), mixed]), "algorithms");
    let other_keys = IssuerConfig {
        jwks: JwksSource::File("/keys.json".into()),
        ..rule("b", TENANT)
    };
    assert_eq!(field(vec![rule("a", TENANT), other_keys]), "jwks");
}
