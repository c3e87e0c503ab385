use std::os::unix::fs::PermissionsExt;

use node::contract::EnrollResponse;
use signing::certificate::Validity;
use signing::key::random_bytes;
use signing::node_certificate::{TlsNames, Usage, prepare_node, prepare_node_root};

use super::*;

const NOW: u64 = 1_800_000_000;
const EDGE: &str = "spiffe://example.org/edge/fra-1";

/// What an authority answers to a request for the key in `csr`.
fn answer(csr: &[u8], spiffe_id: &str, lifetime: u64) -> EnrollResponse {
    let root_key = SigningKey::generate(Algorithm::Es256).unwrap();
    let spki = root_key.public().unwrap().to_spki_der();
    let validity = Validity::starting(NOW, 86_400);
    let root = prepare_node_root("root", spki, validity, random_bytes().unwrap()).unwrap();
    let root = root.sign_with(&root_key).unwrap();
    let names = TlsNames {
        common_name: "fra-1".into(),
        spiffe_id: Some(spiffe_id.into()),
        dns: Vec::new(),
        ips: Vec::new(),
    };
    let public = signing::csr::verify(csr).unwrap();
    let validity = Validity::starting(NOW, lifetime);
    let leaf = prepare_node(
        &names,
        Usage::NODE,
        public.to_spki_der(),
        validity,
        random_bytes().unwrap(),
        &root,
    );
    let leaf = leaf.unwrap().sign_with(&root_key).unwrap();
    EnrollResponse {
        certificates: vec![leaf.into_der(), root.into_der()],
        spiffe_id: spiffe_id.into(),
        edge_id: spiffe_id.rsplit('/').next().unwrap().into(),
    }
}

#[test]
fn an_identity_is_stored_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(load(dir.path()), Err(IdentityError::Missing(_))));
    let request = Request::new().unwrap();
    let answer = answer(&request.csr, EDGE, 3600);
    let stored = store(dir.path(), request, &answer, None).unwrap();
    let loaded = load(dir.path()).unwrap();
    assert_eq!(
        (loaded.trust_domain.as_str(), loaded.edge_id.as_str()),
        ("example.org", "fra-1")
    );
    assert_eq!(
        (loaded.not_after, &loaded.chain, &loaded.roots),
        (NOW + 3600, &stored.chain, &stored.roots)
    );
    assert!(enrolled(dir.path(), NOW + 3599) && !enrolled(dir.path(), NOW + 3600));
    let mode = fs::metadata(path(dir.path())).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!format!("{loaded:?}").contains("PRIVATE") && format!("{loaded:?}").contains("[redacted]"));
}

/// An answer that cannot be used must not cost the edge the identity it has: it could not even start again.
#[test]
fn a_useless_answer_leaves_the_identity_alone() {
    let dir = tempfile::tempdir().unwrap();
    let request = Request::new().unwrap();
    let first = answer(&request.csr, EDGE, 3600);
    let before = store(dir.path(), request, &first, None).unwrap();
    let content = fs::read(path(dir.path())).unwrap();
    let stranger = Request::new().unwrap();
    let refuse = |change: &dyn Fn(&mut EnrollResponse)| {
        let request = Request::new().unwrap();
        let mut changed = answer(&request.csr, EDGE, 7200);
        change(&mut changed);
        let refused = store(dir.path(), request, &changed, Some(&before)).unwrap_err();
        assert!(matches!(refused, IdentityError::Answer(_)), "{refused}");
        assert_eq!(fs::read(path(dir.path())).unwrap(), content);
    };
    refuse(&|answer| answer.certificates.clear());
    refuse(&|answer| answer.certificates.truncate(1));
    refuse(&|answer| answer.certificates[0] = vec![0x30, 0]);
    refuse(&|changed| *changed = answer(&stranger.csr, EDGE, 7200));
    refuse(&|answer| answer.spiffe_id = "https://example.org/edge/fra-1".into());
    refuse(&|answer| answer.edge_id = "fra-2".into());
    refuse(&|answer| (answer.spiffe_id, answer.edge_id) = ("spiffe://example.org/edge/fra-2".into(), "fra-2".into()));
    let request = Request::new().unwrap();
    let second = answer(&request.csr, EDGE, 7200);
    assert_eq!(
        store(dir.path(), request, &second, Some(&before)).unwrap().not_after,
        NOW + 7200
    );
}

#[test]
fn a_damaged_file_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let request = Request::new().unwrap();
    let answer = answer(&request.csr, EDGE, 3600);
    store(dir.path(), request, &answer, None).unwrap();
    let path = path(dir.path());
    let good = fs::read_to_string(&path).unwrap();
    for bad in [
        "",
        "{",
        "{}",
        &good[..good.len() / 2],
        &good.replace("PRIVATE KEY", "X"),
        &good.replace("\"key\"", "\"kez\""),
    ] {
        fs::write(&path, bad).unwrap();
        let error = load(dir.path()).unwrap_err();
        assert!(
            matches!(error, IdentityError::Damaged { .. }) && error.to_string().contains("enrol"),
            "{error}"
        );
        assert!(
            !error.to_string().contains("MIG"),
            "no key material in an error: {error}"
        );
    }
}
