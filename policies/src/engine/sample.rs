//! Facts and bundles that this crate's tests share.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use super::{Attribute, CallerFacts, Engine, KeyFacts, Principal, RequestFacts};
use crate::bundle::{Bundle, PolicyFile, dir};
use crate::intent::Intent;
use crate::profile::Profile;

/// The bundle in `policies/cases/bundle`, with these policies instead of its own.
pub(crate) fn bundle(policies: &str) -> Bundle {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/bundle");
    let bundle = Bundle::parse(&dir::read(&root).unwrap()).unwrap();
    Bundle {
        policies: vec![PolicyFile {
            path: "test.cedar".to_owned(),
            text: policies.to_owned(),
        }],
        ..bundle
    }
}

pub(crate) fn engine(policies: &str) -> (Bundle, Engine) {
    let bundle = bundle(policies);
    let engine = Engine::new(&bundle).unwrap();
    (bundle, engine)
}

pub(crate) fn profile(bundle: &Bundle, name: &str) -> Arc<Profile> {
    Arc::clone(bundle.profile(name).unwrap())
}

pub(crate) fn caller() -> CallerFacts {
    let attributes = [
        ("repository", Attribute::Text("acme/web".to_owned())),
        ("team", Attribute::Text("payments".to_owned())),
        (
            "roles",
            Attribute::Texts(vec!["editor".to_owned(), "viewer".to_owned()]),
        ),
        ("run", Attribute::Int(17)),
        ("email_verified", Attribute::Bool(true)),
    ];
    CallerFacts {
        id: "oidc:https://ci.example#repo:acme/web".to_owned(),
        kind: "oidc".to_owned(),
        tenant: "000000000001".to_owned(),
        issuer: "https://ci.example".to_owned(),
        subject: "repo:acme/web".to_owned(),
        attributes: attributes
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    }
}

pub(crate) fn principal() -> Principal {
    Principal::new(caller())
}

pub(crate) fn key(tenant: &str) -> KeyFacts {
    let tags = BTreeMap::from([
        ("ring".to_owned(), "production".to_owned()),
        ("env".to_owned(), "prod".to_owned()),
    ]);
    let id = "11111111-2222-4333-8444-555555555555".to_owned();
    KeyFacts::new(id, tenant.to_owned(), vec!["alias/session".to_owned()], tags)
}

pub(crate) fn facts() -> RequestFacts {
    RequestFacts {
        now: 1_767_225_600,
        source_ip: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
        protocol: "http1",
    }
}

pub(crate) fn mint(profile: &Profile) -> Intent {
    let body =
        br#"{"subject":"u-1","audience":"https://api.example","claims":{"role":"editor","region":"eu"},"lifetime":60}"#;
    Intent::parse_token(profile, body).unwrap()
}
