use der::asn1::{Ia5String, ObjectIdentifier};
use x509_cert::ext::pkix::name::GeneralName;

use super::*;
use crate::certificate::{Constraint, Issuer, Template, oid};
use crate::node_certificate::{TlsNames, Usage, prepare_node, prepare_node_root};

fn uri(text: &str) -> GeneralName {
    GeneralName::UniformResourceIdentifier(Ia5String::new(text).unwrap())
}

/// A leaf that the functions which issue would refuse to make, honestly signed by the CA.
fn odd_leaf(
    ca: &Ca,
    purposes: &[ObjectIdentifier],
    alt_names: Vec<GeneralName>,
    private: Vec<(ObjectIdentifier, Vec<u8>)>,
    constraint: Constraint,
) -> Certificate {
    let edge = SigningKey::generate(Algorithm::Es256).unwrap();
    let template = Template {
        common_name: "odd",
        organization: None,
        public_key: edge.public().unwrap(),
        validity: Validity::starting(NOW, DAY),
        serial: serial(),
        issuer: Issuer::Ca(&ca.certificate),
        constraint,
        purposes,
        alt_names,
        private,
    };
    template.prepare().unwrap().sign_with(&ca.key).unwrap()
}

fn good_names() -> Vec<GeneralName> {
    vec![uri(&name(KEY).uri().unwrap())]
}

fn good_scope() -> Vec<(ObjectIdentifier, Vec<u8>)> {
    vec![(SCOPE_EXTENSION, scope().to_der().unwrap())]
}

fn refused(leaf: &Certificate, ca: &Ca, root: &Ca) -> DelegationError {
    let chain = [leaf.der(), ca.certificate.der()];
    verify_chain(&chain, &[root.certificate.der()], NOW).unwrap_err()
}

#[test]
fn an_honest_chain_says_who_may_sign_what() {
    let root = root();
    let ca = key_ca(&root);
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Es384] {
        let edge = SigningKey::generate(algorithm).unwrap();
        let leaf = leaf_at(&ca, &edge, Validity::starting(NOW, 3600)).unwrap();
        let roots = [root.certificate.der()];
        let chain = chain_of([&leaf, &ca.certificate, &root.certificate]);
        let verified = verify_chain(&chain, &roots, NOW).unwrap();
        assert_eq!(verified.name, name(KEY));
        assert_eq!(verified.scope, scope());
        assert_eq!(Some(&verified.public_key), edge.public());
        assert_eq!((verified.not_before, verified.not_after), (NOW - 60, NOW + 3600));
        assert!(verified.code_signing);
        assert_eq!(verify_chain(&chain[..2], &roots, NOW), Ok(verified));
    }
}

#[test]
fn a_delegation_without_code_signing_says_so() {
    let root = root();
    let key = SigningKey::generate(Algorithm::Es384).unwrap();
    let validity = Validity::starting(NOW, DAY);
    let prepared = prepare_key_ca(
        &name(KEY).key_name(),
        spki(&key),
        validity,
        serial(),
        &root.certificate,
        false,
    )
    .unwrap();
    let ca = Ca {
        certificate: prepared.sign_with(&root.key).unwrap(),
        key,
    };
    let edge = SigningKey::generate(Algorithm::EdDsa).unwrap();
    let tokens = Scope {
        formats: vec!["jwt".into()],
        issuer: Some("https://edge.example/i/dev".into()),
        audiences: vec!["api".into()],
        max_lifetime: 60,
    };
    let issue = |code_signing| {
        prepare_leaf(
            &name(KEY),
            &tokens,
            spki(&edge),
            validity,
            serial(),
            &ca.certificate,
            code_signing,
        )
    };
    let leaf = issue(false).unwrap().sign_with(&ca.key).unwrap();
    let verified = verify_chain(&[leaf.der(), ca.certificate.der()], &[root.certificate.der()], NOW).unwrap();
    assert_eq!((&verified.scope, verified.code_signing), (&tokens, false));
    assert_eq!(issue(true).unwrap_err(), CertificateError::NotAnIssuer);
}

#[test]
fn validity_ends_and_begins_to_the_second() {
    let root = root();
    let ca = key_ca(&root);
    let edge = SigningKey::generate(Algorithm::Es256).unwrap();
    let leaf = leaf_at(&ca, &edge, Validity::starting(NOW, 100)).unwrap();
    let at = |now| verify_chain(&[leaf.der(), ca.certificate.der()], &[root.certificate.der()], now);
    assert!(at(NOW - 60).is_ok() && at(NOW + 100).is_ok());
    assert_eq!(at(NOW - 61), Err(DelegationError::NotYetValid));
    assert_eq!(at(NOW + 101), Err(DelegationError::Expired));
}

#[test]
fn an_expired_ca_or_root_ends_its_delegations() {
    let edge = SigningKey::generate(Algorithm::Es256).unwrap();
    let short = root_at(Algorithm::Es256, Validity::starting(NOW, 50));
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let late = prepare_key_ca(
        &name(KEY).key_name(),
        spki(&key),
        Validity::starting(NOW, 51),
        serial(),
        &short.certificate,
        true,
    );
    assert_eq!(late.unwrap_err(), CertificateError::Validity);

    let root = root();
    let ca = key_ca_of(&root, &name(KEY).key_name(), Validity::starting(NOW, 50));
    assert_eq!(
        leaf_at(&ca, &edge, Validity::starting(NOW, 51)),
        Err(CertificateError::Validity)
    );
    let leaf = leaf_at(&ca, &edge, Validity::starting(NOW, 50)).unwrap();
    let at = |now| verify_chain(&[leaf.der(), ca.certificate.der()], &[root.certificate.der()], now);
    assert_eq!(at(NOW + 51), Err(DelegationError::Expired));

    // The same root key under a certificate that ends earlier than the chain below it.
    let renewed = prepare_root(
        "Signet delegation root",
        spki(&root.key),
        Validity::starting(NOW, 10),
        serial(),
    );
    let renewed = renewed.unwrap().sign_with(&root.key).unwrap();
    let chain = [leaf.der(), ca.certificate.der()];
    assert_eq!(verify_chain(&chain, &[renewed.der()], NOW).unwrap().not_after, NOW + 10);
    assert_eq!(
        verify_chain(&chain, &[renewed.der()], NOW + 11),
        Err(DelegationError::Expired)
    );
    assert_eq!(
        verify_chain(&chain, &[renewed.der()], NOW - 61),
        Err(DelegationError::NotYetValid)
    );
}

#[test]
fn chains_to_other_roots_and_from_other_cas_are_refused() {
    let (root, stranger) = (root(), root());
    let (ca, other_ca) = (key_ca(&root), key_ca(&stranger));
    let edge = SigningKey::generate(Algorithm::Es256).unwrap();
    let leaf = leaf_at(&ca, &edge, Validity::starting(NOW, 100)).unwrap();
    let verify = |chain: &[&[u8]], root: &Ca| verify_chain(chain, &[root.certificate.der()], NOW);
    let (leaf, ca, other) = (leaf.der(), ca.certificate.der(), other_ca.certificate.der());
    assert_eq!(verify(&[leaf, ca], &stranger), Err(DelegationError::Path));
    assert_eq!(verify(&[leaf, other], &stranger), Err(DelegationError::Path));
    assert_eq!(verify(&[leaf, other], &root), Err(DelegationError::Path));
    assert_eq!(verify(&[leaf], &root), Err(DelegationError::Path));
    // A root that the chain brings along is not trusted for that.
    assert_eq!(
        verify(&[leaf, ca, root.certificate.der()], &stranger),
        Err(DelegationError::Path)
    );
    // The CA in the leaf's place is no delegation.
    assert!(verify(&[ca], &root).is_err());
    // Two CAs of one key: the one that issued is found whatever the order.
    assert!(verify(&[leaf, other, ca], &root).is_ok());
    let both = [stranger.certificate.der(), root.certificate.der()];
    assert!(verify_chain(&[leaf, ca], &both, NOW).is_ok());
}

// R5
#[test]
fn a_leaf_of_another_key_than_its_cas_is_refused() {
    let root = root();
    let other_tenant = DelegationName {
        tenant: "000000000002".into(),
        ..name(KEY)
    };
    let other_domain = DelegationName {
        trust_domain: "example.com".into(),
        ..name(KEY)
    };
    let ca = key_ca(&root);
    for named in [name(OTHER_KEY), other_tenant, other_domain] {
        let edge = SigningKey::generate(Algorithm::Es256).unwrap();
        let validity = Validity::starting(NOW, 100);
        let issued = prepare_leaf(&named, &scope(), spki(&edge), validity, serial(), &ca.certificate, true);
        assert_eq!(issued.unwrap_err(), CertificateError::NotAnIssuer);

        let names = vec![uri(&named.uri().unwrap())];
        let leaf = odd_leaf(&ca, &[DELEGATION_PURPOSE], names, good_scope(), Constraint::Leaf);
        assert_eq!(refused(&leaf, &ca, &root), DelegationError::OtherKey);
    }
}

#[test]
fn a_leaf_without_scope_or_with_a_bad_one_is_refused() {
    let root = root();
    let ca = key_ca(&root);
    let with = |private| odd_leaf(&ca, &[DELEGATION_PURPOSE], good_names(), private, Constraint::Leaf);
    assert_eq!(refused(&with(vec![]), &ca, &root), DelegationError::NoScope);
    let bad = with(vec![(SCOPE_EXTENSION, vec![0x30, 0])]);
    assert_eq!(refused(&bad, &ca, &root), DelegationError::Scope(ScopeError::Malformed));
    let twice = with([good_scope(), good_scope()].concat());
    assert!(matches!(
        refused(&twice, &ca, &root),
        DelegationError::Path | DelegationError::Certificate(_)
    ));
    assert!(
        verify_chain(
            &[with(good_scope()).der(), ca.certificate.der()],
            &[root.certificate.der()],
            NOW
        )
        .is_ok()
    );
}

#[test]
fn a_leaf_for_another_purpose_is_refused() {
    let root = root();
    let ca = key_ca(&root);
    for purposes in [&[][..], &[oid::CODE_SIGNING], &[oid::SERVER_AUTH, oid::CLIENT_AUTH]] {
        let leaf = odd_leaf(&ca, purposes, good_names(), good_scope(), Constraint::Leaf);
        assert_eq!(refused(&leaf, &ca, &root), DelegationError::Purpose);
    }
}

#[test]
fn a_leaf_with_other_names_or_none_is_refused() {
    let root = root();
    let ca = key_ca(&root);
    let spiffe = uri("spiffe://example.org/edge/fra-1");
    let dns = GeneralName::DnsName(Ia5String::new("edge.example.org").unwrap());
    let of_key = uri(&name(KEY).key_name().uri().unwrap());
    let good = good_names().remove(0);
    let cases = [
        vec![],
        vec![spiffe.clone()],
        vec![good.clone(), spiffe],
        vec![good, dns.clone()],
        vec![dns],
        vec![of_key],
    ];
    for names in cases {
        let leaf = odd_leaf(&ca, &[DELEGATION_PURPOSE], names, good_scope(), Constraint::Leaf);
        assert!(matches!(refused(&leaf, &ca, &root), DelegationError::Name(_)));
    }
}

#[test]
fn a_node_certificate_is_no_delegation() {
    let root = root();
    let node_key = SigningKey::generate(Algorithm::Es256).unwrap();
    let names = TlsNames {
        common_name: "fra-1".into(),
        spiffe_id: Some("spiffe://example.org/edge/fra-1".into()),
        ..TlsNames::default()
    };
    let validity = Validity::starting(NOW, DAY);
    let node_root_key = SigningKey::generate(Algorithm::Es256).unwrap();
    let node_root = prepare_node_root("Signet node root", spki(&node_root_key), validity, serial());
    let node_root = node_root.unwrap().sign_with(&node_root_key).unwrap();
    let node = prepare_node(&names, Usage::NODE, spki(&node_key), validity, serial(), &node_root);
    let node = node.unwrap().sign_with(&node_root_key).unwrap();
    let verify = |roots: &[&[u8]]| verify_chain(&[node.der(), node_root.der()], roots, NOW).unwrap_err();
    assert_eq!(verify(&[root.certificate.der()]), DelegationError::Purpose);
    // Even where somebody trusts the nodes' root for delegations by mistake.
    assert_eq!(verify(&[node_root.der()]), DelegationError::Purpose);
    // Even where the delegation root itself had issued it.
    let ca = key_ca(&root);
    let stray = prepare_node(
        &names,
        Usage::NODE,
        spki(&node_key),
        validity,
        serial(),
        &ca.certificate,
    )
    .unwrap();
    let stray = stray.sign_with(&ca.key).unwrap();
    assert_eq!(refused(&stray, &ca, &root), DelegationError::Purpose);
}

#[test]
fn a_delegation_straight_from_the_root_is_refused() {
    let root = root();
    let leaf = odd_leaf(
        &root,
        &[DELEGATION_PURPOSE],
        good_names(),
        good_scope(),
        Constraint::Leaf,
    );
    assert_eq!(
        verify_chain(&[leaf.der()], &[root.certificate.der()], NOW),
        Err(DelegationError::Depth)
    );
}

#[test]
fn every_changed_byte_of_a_leaf_refuses_it() {
    let root = root();
    let ca = key_ca(&root);
    let edge = SigningKey::generate(Algorithm::EdDsa).unwrap();
    let leaf = leaf_at(&ca, &edge, Validity::starting(NOW, 100)).unwrap();
    for at in 0..leaf.der().len() {
        let mut changed = leaf.der().to_vec();
        changed[at] ^= 1;
        let chain = [&changed[..], ca.certificate.der()];
        assert!(
            verify_chain(&chain, &[root.certificate.der()], NOW).is_err(),
            "byte {at}"
        );
    }
}

#[test]
fn chains_and_roots_are_bounded() {
    let root = root();
    let der = root.certificate.der();
    let none: [&[u8]; 0] = [];
    assert_eq!(verify_chain(&none, &[der], NOW), Err(DelegationError::Length));
    assert_eq!(verify_chain(&[der], &none, NOW), Err(DelegationError::Length));
    assert_eq!(verify_chain(&[der; 5], &[der], NOW), Err(DelegationError::Length));
    assert_eq!(verify_chain(&[der], &[der; 17], NOW), Err(DelegationError::Length));
    let huge = vec![0x30; 20_000];
    assert!(matches!(
        verify_chain(&[&huge], &[der.to_vec()], NOW),
        Err(DelegationError::Certificate(_))
    ));
    assert!(matches!(
        verify_chain(&[b""], &[der], NOW),
        Err(DelegationError::Certificate(_))
    ));
}
