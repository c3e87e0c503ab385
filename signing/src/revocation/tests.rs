use super::*;
use crate::algorithm::Algorithm;
use crate::certificate::{Certificate, Validity};
use crate::delegation::{DelegationName, Scope, prepare_key_ca, prepare_leaf, prepare_root};
use crate::key::random_bytes;

const NOW: u64 = 1_800_000_000;
const KEY: &str = "0b54ae66-5f2f-4a0e-9d7c-2f6c1f1b8a10";

struct Signer {
    root: Vec<u8>,
    key: SigningKey,
    chain: Vec<Vec<u8>>,
}

fn spki(key: &SigningKey) -> &[u8] {
    key.public().unwrap().to_spki_der()
}

/// A delegation of `key` for `format`, issued now.
fn signer(key: &str, tenant: &str, format: &str) -> Signer {
    let generate = || SigningKey::generate(Algorithm::Es256).unwrap();
    let (root_key, ca_key, own) = (generate(), generate(), generate());
    let life = Validity::starting(NOW, 86_400);
    let serial = || random_bytes().unwrap();
    let root = prepare_root("root", spki(&root_key), life, serial()).unwrap();
    let root: Certificate = root.sign_with(&root_key).unwrap();
    let name = DelegationName {
        trust_domain: "example.org".into(),
        tenant: tenant.into(),
        key: key.into(),
        version: 1,
        edge: "authority".into(),
        incarnation: "a1".into(),
    };
    let ca = prepare_key_ca(&name.key_name(), spki(&ca_key), life, serial(), &root, false).unwrap();
    let ca = ca.sign_with(&root_key).unwrap();
    let scope = Scope {
        formats: vec![format.into()],
        issuer: None,
        audiences: vec![],
        max_lifetime: 1,
    };
    let leaf = prepare_leaf(&name, &scope, spki(&own), life, serial(), &ca, false).unwrap();
    let leaf = leaf.sign_with(&ca_key).unwrap();
    Signer {
        chain: [&leaf, &ca, &root].map(|one| one.der().to_vec()).into(),
        root: root.der().to_vec(),
        key: own,
    }
}

fn list() -> RevocationList {
    RevocationList {
        iss: "signet://example.org".into(),
        iat: NOW,
        exp: NOW + 600,
        revision: 7,
        kids: vec!["stolen".into()],
        delegations: Vec::new(),
    }
}

fn honest() -> Signer {
    signer(SIGNER_KEY, SIGNER_TENANT, FORMAT)
}

fn read(jws: &str, signer: &Signer, now: u64) -> Result<RevocationList, RevocationError> {
    RevocationList::verify(jws, std::slice::from_ref(&signer.root), now)
}

#[test]
fn a_list_is_believed_while_it_is_fresh() {
    let signer = honest();
    let jws = list().sign(&signer.key, &signer.chain).unwrap();
    let read_at = |now| read(&jws, &signer, now);
    assert_eq!(read_at(NOW), Ok(list()));
    assert!(read_at(NOW + 599).unwrap().refuses_kid("stolen"));
    assert!(read(&format!("{jws}\n"), &signer, NOW).is_ok());
    assert_eq!(read_at(NOW + 600), Err(RevocationError::Expired));
    assert_eq!(
        read_at(NOW - 61),
        Err(RevocationError::Signer(DelegationError::NotYetValid))
    );
    let of = |change: &dyn Fn(&mut RevocationList)| {
        let mut list = list();
        change(&mut list);
        read(&list.sign(&signer.key, &signer.chain).unwrap(), &signer, NOW).unwrap_err()
    };
    assert_eq!(of(&|list| list.exp = NOW + 3_601), RevocationError::Times);
    assert_eq!(
        of(&|list| (list.iat, list.exp) = (NOW + 61, NOW + 90)),
        RevocationError::Times
    );
    assert!(matches!(
        of(&|list| list.iss = "signet://else".into()),
        RevocationError::Malformed(_)
    ));
}

// R1, R5
#[test]
fn nobody_else_makes_a_list() {
    let signer = honest();
    let jws = list().sign(&signer.key, &signer.chain).unwrap();
    let stranger = honest();
    assert!(matches!(read(&jws, &stranger, NOW), Err(RevocationError::Signer(_))));
    let forged = list().sign(&stranger.key, &signer.chain).unwrap();
    assert_eq!(read(&forged, &signer, NOW), Err(RevocationError::Signature));
    for (key, tenant, format) in [
        (KEY, SIGNER_TENANT, FORMAT),
        (SIGNER_KEY, "000000000001", FORMAT),
        (SIGNER_KEY, SIGNER_TENANT, "raw"),
    ] {
        let edge = self::signer(key, tenant, format);
        let jws = list().sign(&edge.key, &edge.chain).unwrap();
        assert_eq!(
            read(&jws, &edge, NOW),
            Err(RevocationError::Purpose),
            "{key} {tenant} {format}"
        );
    }
    let parts: Vec<&str> = jws.split('.').collect();
    let mut longer = list();
    longer.kids.clear();
    let other = base64url(&serde_json::to_vec(&longer).unwrap());
    let swapped = format!("{}.{other}.{}", parts[0], parts[2]);
    assert_eq!(read(&swapped, &signer, NOW), Err(RevocationError::Signature));
    let header = String::from_utf8(from_base64url(parts[0]).unwrap()).unwrap();
    for (is, becomes) in [("ES256", "none"), ("ES256", "HS256"), (TYPE, "JWT")] {
        let header = base64url(header.replace(is, becomes).as_bytes());
        assert!(read(&format!("{header}.{}.{}", parts[1], parts[2]), &signer, NOW).is_err());
    }
    for bad in ["", "a.b", "a.b.c", &"x".repeat(MAX_LEN + 1)] {
        assert!(matches!(read(bad, &signer, NOW), Err(RevocationError::Malformed(_))));
    }
}

#[test]
fn a_rule_refuses_what_was_issued_until_its_time() {
    let signer = signer(KEY, "000000000001", "raw");
    let verified = verify_chain(&signer.chain, std::slice::from_ref(&signer.root), NOW).unwrap();
    let refuses = |key: Option<&str>, edge: Option<&str>, issued_until| {
        let rule = Rule {
            key: key.map(str::to_owned),
            edge: edge.map(str::to_owned),
            issued_until,
        };
        let list = RevocationList {
            delegations: vec![rule],
            ..list()
        };
        list.refuses(&verified)
    };
    assert!(refuses(Some(KEY), None, NOW) && !refuses(Some(KEY), None, NOW - 1));
    assert!(refuses(None, Some("authority"), NOW) && !refuses(None, Some("edge-2"), NOW));
    assert!(refuses(Some(KEY), Some("authority"), NOW) && !refuses(Some(SIGNER_KEY), Some("authority"), NOW));
    let by_kid = RevocationList {
        kids: vec![verified.public_key.thumbprint().to_owned()],
        ..list()
    };
    assert!(by_kid.refuses(&verified) && !list().refuses(&verified));
}
