use super::*;
use crate::delegation::prepare_root;
use crate::key::random_bytes;
use crate::node_certificate::{TlsNames, Usage, prepare_node, prepare_node_root};

const NOW: u64 = 1_800_000_000;
const DAY: u64 = 86_400;

struct Root {
    key: SigningKey,
    certificate: Certificate,
}

fn spki(key: &SigningKey) -> Vec<u8> {
    key.public().unwrap().to_spki_der().to_vec()
}

fn key() -> SigningKey {
    SigningKey::generate(Algorithm::Es256).unwrap()
}

fn serial() -> Serial {
    random_bytes().unwrap()
}

fn root() -> Root {
    let key = key();
    let prepared = prepare_node_root("nodes", &spki(&key), Validity::starting(NOW, 100 * DAY), serial()).unwrap();
    let certificate = prepared.sign_with(&key).unwrap();
    Root { key, certificate }
}

fn statement() -> Statement {
    Statement {
        component: [1; 32],
        target: "x86-64-v3".into(),
        compatibility: "ab".repeat(32),
        artifact: [2; 32],
        size: 3,
    }
}

impl Root {
    fn signer(&self, domain: &str, spki: &[u8]) -> Certificate {
        let prepared = prepare_signer(domain, spki, Validity::starting(NOW, DAY), serial(), &self.certificate);
        prepared.unwrap().sign_with(&self.key).unwrap()
    }

    /// A node's certificate, with any SPIFFE ID.
    fn node(&self, id: &str, spki: &[u8]) -> Certificate {
        let names = TlsNames {
            common_name: "node".into(),
            spiffe_id: Some(id.into()),
            ..TlsNames::default()
        };
        let validity = Validity::starting(NOW, DAY);
        let prepared = prepare_node(&names, Usage::NODE, spki, validity, serial(), &self.certificate).unwrap();
        prepared.sign_with(&self.key).unwrap()
    }

    fn verify(&self, endorsement: &Endorsement) -> Result<Endorsed, EndorsementError> {
        endorsement.verify(&[self.certificate.der()], "example.org", NOW)
    }
}

fn signed(key: &SigningKey, certificate: &Certificate) -> Endorsement {
    Endorsement::sign(statement(), "example.org", key, certificate).unwrap()
}

#[test]
fn what_the_authority_endorsed_is_believed_as_it_is() {
    let (root, key) = (root(), key());
    let endorsement = signed(&key, &root.signer("example.org", &spki(&key)));
    let read = Endorsement::decode(&endorsement.encode()).unwrap();
    assert_eq!(read, endorsement);
    let believed = root.verify(&read).unwrap();
    assert_eq!((believed.statement(), believed.not_after()), (&statement(), NOW + DAY));
}

// R20
#[test]
fn a_statement_that_was_changed_is_not_believed() {
    let (root, key) = (root(), key());
    let good = signed(&key, &root.signer("example.org", &spki(&key)));
    let changes: [fn(&mut Statement); 5] = [
        |statement| statement.component[0] ^= 1,
        |statement| statement.target = "x86-64-v2".into(),
        |statement| statement.compatibility.push('0'),
        |statement| statement.artifact[31] ^= 1,
        |statement| statement.size += 1,
    ];
    for change in changes {
        let mut changed = good.clone();
        change(&mut changed.statement);
        assert_eq!(root.verify(&changed), Err(EndorsementError::Signature), "{changed:?}");
    }
    let elsewhere = Endorsement::sign(statement(), "other.org", &key, &root.signer("example.org", &spki(&key)));
    assert_eq!(root.verify(&elsewhere.unwrap()), Err(EndorsementError::Signature));
}

// R20
#[test]
fn nobody_else_endorses() {
    let (root, stranger, key) = (root(), super::tests::root(), key());
    let spki = spki(&key);
    let purpose = [
        root.node("spiffe://example.org/edge/fra-1", &spki),
        root.node("spiffe://example.org/plugin-compiler", &spki),
        root.signer("other.org", &spki),
    ];
    for certificate in purpose {
        assert_eq!(root.verify(&signed(&key, &certificate)), Err(EndorsementError::Purpose));
    }
    let foreign = signed(&key, &stranger.signer("example.org", &spki));
    assert_eq!(root.verify(&foreign), Err(EndorsementError::Path));
    // The root itself, and one of delegations.
    assert!(root.verify(&signed(&root.key, &root.certificate)).is_err());
    let delegations = prepare_root("delegations", &spki, Validity::starting(NOW, DAY), serial()).unwrap();
    let delegations = delegations.sign_with(&key).unwrap();
    assert!(root.verify(&signed(&key, &delegations)).is_err());
    let none: [&[u8]; 0] = [];
    let good = signed(&key, &root.signer("example.org", &spki));
    assert_eq!(
        good.verify(&none, "example.org", NOW),
        Err(EndorsementError::Path),
        "no root, no belief"
    );
    for late in [NOW + DAY + 1, NOW - 61, NOW + 101 * DAY] {
        let verified = good.verify(&[root.certificate.der()], "example.org", late);
        assert!(
            matches!(verified, Err(EndorsementError::Time | EndorsementError::Path)),
            "{late}: {verified:?}"
        );
    }
}

#[test]
fn what_does_not_read_is_refused() {
    let (root, key) = (root(), key());
    let good = signed(&key, &root.signer("example.org", &spki(&key)));
    let text = String::from_utf8(good.encode()).unwrap();
    assert!(!text.contains('\n'), "one line");
    let component = hex(&[1; 32]);
    for wrong in [
        String::new(),
        "{}".into(),
        text.replace("\"size\"", "\"length\""),
        text.replacen('{', "{\"more\":1,", 1),
        text.replace(&component, &component[2..]),
        text.replace(&component, &"g".repeat(64)),
        text.replace(":3}", ":-3}"),
        format!("{text} 7"),
        " ".repeat(MAX_ENDORSEMENT) + &text,
    ] {
        assert_eq!(
            Endorsement::decode(wrong.as_bytes()),
            Err(EndorsementError::Malformed),
            "{wrong}"
        );
    }
    let mut garbled = good;
    garbled.certificate.truncate(100);
    assert!(matches!(root.verify(&garbled), Err(EndorsementError::Certificate(_))));
}
