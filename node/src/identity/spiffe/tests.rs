use rustls_pki_types::pem::PemObject;

use super::*;

const TENANT: &str = "000000000001";
/// 2026-01-01; the fixtures are valid from 2020 to 2110, the intermediate to 2030.
const NOW: u64 = 1_767_225_600;
const YEAR_2020: u64 = 1_577_836_800;
const YEAR_2030: u64 = 1_893_456_000;
const YEAR_2105: u64 = 4_260_211_200;
const YEAR_2110: u64 = 4_417_977_600;

fn certificate(name: &str) -> CertificateDer<'static> {
    let path = format!("{}/testdata/certificates/{name}.pem", env!("CARGO_MANIFEST_DIR"));
    CertificateDer::from_pem_file(path).unwrap()
}

fn rule(path: &str, root: &str) -> SpiffeRule {
    SpiffeRule {
        trust_domain: "example.org".into(),
        path: path.into(),
        tenant: TENANT.into(),
        roots: vec![certificate(root)],
        crls: Vec::new(),
    }
}

fn with_crl(name: &str) -> SpiffeRule {
    let path = format!("{}/testdata/certificates/{name}.crl", env!("CARGO_MANIFEST_DIR"));
    let crl = rustls_pki_types::CertificateRevocationListDer::from_pem_file(path).unwrap();
    SpiffeRule {
        crls: vec![crl.as_ref().to_vec()],
        ..rule("/ci/*", "root-a")
    }
}

fn domains(rules: Vec<SpiffeRule>) -> TrustDomains {
    TrustDomains::new(rules).unwrap()
}

fn code(domains: &TrustDomains, chain: &[&str], now: u64) -> &'static str {
    let chain: Vec<_> = chain.iter().map(|name| certificate(name)).collect();
    domains
        .authenticate(&chain, now)
        .map_or_else(|error| error.code(), |_| "")
}

#[test]
fn a_certificate_of_the_trust_domain_is_a_caller() {
    let domains = domains(vec![rule("/ci/*", "root-a")]);
    for name in ["build", "build-and-dns", "no-usage"] {
        let caller = domains.authenticate(&[certificate(name)], NOW).unwrap();
        assert_eq!(caller.id(), "spiffe://example.org/ci/build", "{name}");
        assert_eq!((caller.kind(), caller.tenant()), (CallerKind::Spiffe, TENANT));
        assert_eq!(
            (caller.issuer(), caller.subject()),
            ("spiffe://example.org", "/ci/build")
        );
        assert_eq!(caller.attributes()["path"], Attribute::Text("/ci/build".into()));
        assert_eq!(caller.expires_at(), YEAR_2110 + 1);
    }
}

// R18
#[test]
fn another_domains_root_cannot_speak_for_this_one() {
    let other = SpiffeRule {
        trust_domain: "other.example".into(),
        ..rule("/ci/*", "root-b")
    };
    let domains = domains(vec![rule("/ci/*", "root-a"), other]);
    assert_eq!(domains.roots().count(), 2, "the TLS layer would let both in");
    assert_eq!(code(&domains, &["build"], NOW), "");
    assert_eq!(code(&domains, &["build-by-b"], NOW), "bad_client_certificate");
    assert_eq!(code(&domains, &["other-domain"], NOW), "bad_client_certificate");
}

// R18
#[test]
fn each_rule_has_its_own_roots_even_within_a_trust_domain() {
    let domains = domains(vec![rule("/ci/*", "root-b"), rule("/prod/*", "root-a")]);
    assert_eq!(code(&domains, &["build"], NOW), "bad_client_certificate");
    assert_eq!(code(&domains, &["build-by-b"], NOW), "");
    assert_eq!(code(&domains, &["other-path"], NOW), "");
}

// R18
#[test]
fn certificates_that_are_no_svids_are_refused() {
    let domains = domains(vec![rule("/*", "root-a")]);
    for name in [
        "two-uris",
        "no-uri",
        "https-uri",
        "trailing-slash",
        "dot-segments",
        "no-path",
        "server",
        "server-usage",
        "signs-certificates",
        "is-a-ca",
        "root-a",
    ] {
        assert_eq!(code(&domains, &[name], NOW), "bad_client_certificate", "{name}");
    }
    let garbage = CertificateDer::from(vec![0x30, 0x03, 0x02, 0x01, 0x01]);
    assert_eq!(
        domains.authenticate(&[garbage], NOW).unwrap_err().code(),
        "bad_client_certificate"
    );
    assert_eq!(
        domains.authenticate(&[], NOW).unwrap_err().code(),
        "missing_credentials"
    );
    assert_eq!(code(&domains, &["build"; 9], NOW), "bad_client_certificate");
    assert_eq!(code(&domains, &["other-domain"], NOW), "unknown_issuer");
    let narrow = TrustDomains::new(vec![rule("/ci/build", "root-a")]).unwrap();
    assert_eq!(code(&narrow, &["other-path"], NOW), "subject_not_allowed");
    let none = TrustDomains::new(Vec::new()).unwrap();
    assert!(none.is_empty());
    assert_eq!(code(&none, &["build"], NOW), "unknown_issuer");
}

// R19
#[test]
fn validity_is_asked_at_each_request() {
    let domains = domains(vec![rule("/ci/*", "root-a")]);
    for (now, expected) in [
        (YEAR_2020 - 1, "bad_client_certificate"),
        (YEAR_2020, ""),
        (NOW, ""),
        (YEAR_2110, ""),
        (YEAR_2110 + 1, "bad_client_certificate"),
        (NOW, ""),
    ] {
        assert_eq!(code(&domains, &["build"], now), expected, "{now}");
    }
    let chain = ["build-by-intermediate", "intermediate"];
    let ders: Vec<_> = chain.iter().map(|name| certificate(name)).collect();
    let caller = domains.authenticate(&ders, NOW).unwrap();
    assert_eq!(
        caller.expires_at(),
        YEAR_2030 + 1,
        "the earliest end in the chain counts"
    );
    assert_eq!(code(&domains, &chain, YEAR_2030 + 1), "bad_client_certificate");
    assert_eq!(
        code(&domains, &["build-by-intermediate"], NOW),
        "bad_client_certificate",
        "a gap in the chain"
    );
}

#[test]
fn a_known_chain_is_not_verified_again() {
    let domains = domains(vec![rule("/ci/*", "root-a")]);
    let chain = [certificate("build")];
    let first = domains.authenticate(&chain, NOW).unwrap();
    let second = domains.authenticate(&chain, NOW + 1).unwrap();
    assert!(Arc::ptr_eq(&first, &second));
}

// R18
#[test]
fn with_revocation_lists_unknown_status_denies() {
    assert_eq!(code(&domains(vec![with_crl("nothing-revoked")]), &["build"], NOW), "");
    let revoked = domains(vec![with_crl("build-revoked")]);
    assert_eq!(code(&revoked, &["build"], NOW), "bad_client_certificate");
    assert_eq!(code(&revoked, &["build-and-dns"], NOW), "");
    assert_eq!(
        code(&revoked, &["build-and-dns"], YEAR_2105),
        "bad_client_certificate",
        "the list is out of date"
    );
    let chain = ["build-by-intermediate", "intermediate"];
    assert_eq!(
        code(&revoked, &chain, NOW),
        "bad_client_certificate",
        "no list of the intermediate"
    );
}

#[test]
fn bad_rules_are_refused_when_they_are_made() {
    let good = || rule("/ci/*", "root-a");
    let field = |rules: Vec<SpiffeRule>| TrustDomains::new(rules).unwrap_err().field;
    assert_eq!(
        field(vec![SpiffeRule {
            trust_domain: "Example.org".into(),
            ..good()
        }]),
        "trust_domain"
    );
    assert_eq!(
        field(vec![SpiffeRule {
            trust_domain: "*".into(),
            ..good()
        }]),
        "trust_domain"
    );
    assert_eq!(
        field(vec![SpiffeRule {
            path: "*".into(),
            ..good()
        }]),
        "path"
    );
    assert_eq!(
        field(vec![SpiffeRule {
            path: "/ci*".into(),
            ..good()
        }]),
        "path"
    );
    assert_eq!(
        field(vec![SpiffeRule {
            tenant: "1".into(),
            ..good()
        }]),
        "tenant"
    );
    assert_eq!(
        field(vec![SpiffeRule {
            roots: Vec::new(),
            ..good()
        }]),
        "ca_file"
    );
    assert_eq!(
        field(vec![SpiffeRule {
            roots: vec![vec![1, 2].into()],
            ..good()
        }]),
        "ca_file"
    );
    assert_eq!(
        field(vec![SpiffeRule {
            crls: vec![vec![1, 2]],
            ..good()
        }]),
        "crls"
    );
    assert_eq!(
        field(vec![
            good(),
            SpiffeRule {
                path: "/ci/build".into(),
                ..good()
            }
        ]),
        "path"
    );
    assert_eq!(
        field(vec![
            good(),
            SpiffeRule {
                path: "/*".into(),
                ..good()
            }
        ]),
        "path"
    );
    let elsewhere = SpiffeRule {
        trust_domain: "other.example".into(),
        ..good()
    };
    TrustDomains::new(vec![good(), elsewhere]).unwrap();
}
