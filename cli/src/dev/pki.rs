//! The development CA, the edge's server certificate, a caller's certificate and the built-in caller issuer.
//!
//! All of it lies in `DATA/dev/` for the person at the keyboard, and has nothing to do with the authority's own roots.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use signing::algorithm::Algorithm;
use signing::certificate::{Certificate, Serial, Validity, pem_decode, pem_encode};
use signing::claims::Claims;
use signing::format::jwt;
use signing::jwk::Jwk;
use signing::key::{Secret, SigningKey, random_bytes};
use signing::node_certificate::{TlsNames, Usage, prepare_node, prepare_node_root};

use crate::failure::{Context, Failure};

const YEAR: u64 = 365 * 24 * 3600;
/// The name under which callers' certificates and the built-in issuer's tokens are trusted.
pub const TRUST_DOMAIN: &str = "dev.signet.internal";
/// `iss` of the built-in issuer.
pub const CALLER_ISSUER: &str = "https://dev.signet.internal";

/// Files of the development identity.
#[derive(Debug, Clone)]
pub struct Pki {
    dir: PathBuf,
}

impl Pki {
    /// Makes what is missing, and anew what ends within 30 days.
    pub fn ensure(dir: &Path, now: u64) -> Result<Pki, Failure> {
        super::files::private_dir(dir)?;
        let pki = Pki { dir: dir.to_owned() };
        let ca = match pki.read_certificate("ca.pem") {
            Some(ca) if pki.path("ca.key.pem").exists() && is_fresh(&ca, now) => ca,
            _ => pki.make_ca(now)?,
        };
        let key = pki.key("ca.key.pem")?;
        let server = TlsNames {
            common_name: "signet dev".into(),
            spiffe_id: None,
            dns: vec!["localhost".into()],
            ips: vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)],
        };
        pki.ensure_leaf("server", &server, Usage::SERVER, &ca, &key, now)?;
        let client = TlsNames {
            common_name: "signet dev caller".into(),
            spiffe_id: Some(format!("spiffe://{TRUST_DOMAIN}/workload/demo")),
            ..TlsNames::default()
        };
        pki.ensure_leaf("client", &client, Usage::CLIENT, &ca, &key, now)?;
        if !pki.path("caller-issuer.key.pem").exists() {
            pki.write_key("caller-issuer.key.pem", &SigningKey::generate(Algorithm::Es256)?)?;
        }
        Ok(pki)
    }

    /// A file of the development identity.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The CA certificate, PEM.
    pub fn ca_pem(&self) -> Result<String, Failure> {
        read(&self.path("ca.pem"))
    }

    /// The public key of the built-in caller issuer, as a JWKS.
    pub fn caller_jwks(&self) -> Result<String, Failure> {
        let key = self.key("caller-issuer.key.pem")?;
        let public = key
            .public()
            .ok_or_else(|| Failure::new("the caller issuer's key has no public half"))?;
        Ok(format!("{{\"keys\":[{}]}}\n", Jwk::from_public(public).to_json()))
    }

    /// A caller's token for a day: subject `dev:alice`, a developer on the main branch.
    pub fn caller_token(&self, now: u64) -> Result<String, Failure> {
        let key = self.key("caller-issuer.key.pem")?;
        let extra = serde_json::json!({"roles": ["developer"], "ref": "refs/heads/main"});
        let claims = Claims {
            iss: Some(CALLER_ISSUER.into()),
            sub: Some("dev:alice".into()),
            aud: vec!["signet".into()],
            exp: Some(now.saturating_add(24 * 3600)),
            nbf: None,
            iat: Some(now),
            jti: Some(signing::encoding::hex(&random_bytes::<16>()?)),
            extra: serde_json::from_value(extra)?,
        };
        Ok(jwt::mint(&key, &jwt::Header::default(), &claims)?)
    }

    fn make_ca(&self, now: u64) -> Result<Certificate, Failure> {
        let key = SigningKey::generate(Algorithm::Es256)?;
        let spki = public(&key)?;
        let validity = Validity::starting(now, YEAR.saturating_mul(5));
        let ca = prepare_node_root("signet development CA", &spki, validity, serial()?)?.sign_with(&key)?;
        self.write_key("ca.key.pem", &key)?;
        self.write("ca.pem", &ca.to_pem())?;
        // What the old CA signed is worthless now.
        for stale in ["server.pem", "client.pem"] {
            let _ = std::fs::remove_file(self.path(stale));
        }
        Ok(ca)
    }

    fn ensure_leaf(
        &self,
        name: &str,
        names: &TlsNames,
        usage: Usage,
        ca: &Certificate,
        ca_key: &SigningKey,
        now: u64,
    ) -> Result<(), Failure> {
        let (certificate, key_file) = (format!("{name}.pem"), format!("{name}.key.pem"));
        let fresh = self
            .read_certificate(&certificate)
            .is_some_and(|certificate| is_fresh(&certificate, now));
        if fresh && self.path(&key_file).exists() {
            return Ok(());
        }
        let key = SigningKey::generate(Algorithm::Es256)?;
        let prepared = prepare_node(
            names,
            usage,
            &public(&key)?,
            Validity::starting(now, YEAR),
            serial()?,
            ca,
        )?;
        let leaf = prepared.sign_with(ca_key)?;
        self.write_key(&key_file, &key)?;
        self.write(&certificate, &leaf.to_pem())
    }

    fn read_certificate(&self, name: &str) -> Option<Certificate> {
        let text = std::fs::read_to_string(self.path(name)).ok()?;
        Certificate::from_pem_chain(&text).ok()?.into_iter().next()
    }

    fn key(&self, name: &str) -> Result<SigningKey, Failure> {
        let path = self.path(name);
        let der = pem_decode("PRIVATE KEY", &read(&path)?)?.into_iter().next();
        let der = der.ok_or_else(|| Failure::new(format!("`{}` holds no private key", path.display())))?;
        Ok(SigningKey::import(Algorithm::Es256, &Secret::new(der))?)
    }

    fn write_key(&self, name: &str, key: &SigningKey) -> Result<(), Failure> {
        self.write(name, &pem_encode("PRIVATE KEY", key.export()?.expose()))
    }

    fn write(&self, name: &str, content: &str) -> Result<(), Failure> {
        super::files::private_file(&self.path(name), content.as_bytes())
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).context(|| format!("`{}`", path.display()))
}

fn is_fresh(certificate: &Certificate, now: u64) -> bool {
    certificate.not_after() > now.saturating_add(30 * 24 * 3600)
}

fn public(key: &SigningKey) -> Result<Vec<u8>, Failure> {
    let public = key.public().ok_or_else(|| Failure::new("the key has no public half"))?;
    Ok(public.to_spki_der().to_vec())
}

fn serial() -> Result<Serial, Failure> {
    Ok(random_bytes()?)
}
