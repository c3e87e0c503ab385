//! The `store` field: where the authority's state is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use node::channel::{self, Peer};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::HsmConfig;
use crate::store::etcd::EtcdSettings;

/// Members named at most.
const MAX_MEMBERS: usize = 16;
/// Bytes of a prefix and of a replica's name.
const MAX_PREFIX: usize = 128;
const MAX_REPLICA: usize = 48;

/// Where the state is.
#[derive(Clone, Debug, Default)]
pub enum StoreConfig {
    /// `"redb"`: a file in the data directory, for an authority that is alone.
    #[default]
    Redb,
    /// A table: an etcd cluster, for any number of authorities.
    Etcd(EtcdConfig),
}

/// An etcd cluster.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EtcdConfig {
    /// The members' client URLs, 1 to 16: `https://HOST:PORT`, or `http://` on a loopback address. One that is down is passed over.
    pub etcd: Vec<String>,
    /// This authority's own name among those on the store, 1 to 48 of a-z 0-9 -. It is in the audit records, and its anchor goes
    /// by it: two replicas never share one.
    pub replica: String,
    /// The CA that the members' certificates are under, PEM. Needed for `https`.
    pub ca_file: Option<PathBuf>,
    /// The client certificate that is shown to them, PEM, and its private key, PKCS#8: both or neither.
    pub certificate_file: Option<PathBuf>,
    /// See `certificate_file`.
    pub key_file: Option<PathBuf>,
    /// What all keys in etcd begin with, default `/signet`. Replicas of one authority share it, and nobody else.
    #[serde(default = "default_prefix")]
    pub prefix: String,
}

fn default_prefix() -> String {
    "/signet".to_owned()
}

impl StoreConfig {
    /// This authority's name among those on the store; empty where it is alone.
    pub fn replica(&self) -> &str {
        match self {
            Self::Redb => "",
            Self::Etcd(etcd) => &etcd.replica,
        }
    }

    /// The first field that is out of its bounds, and why.
    pub(super) fn check(&self, hsm: &HsmConfig) -> Result<(), (&'static str, String)> {
        match (self, hsm) {
            (Self::Redb, _) => Ok(()),
            (Self::Etcd(_), HsmConfig::Software(_)) => Err((
                "hsm.kind",
                "must be `pkcs11` with a store that others share: the software HSM is of one process".into(),
            )),
            (Self::Etcd(etcd), HsmConfig::Pkcs11(_)) => etcd.check(),
        }
    }
}

impl EtcdConfig {
    fn check(&self) -> Result<(), (&'static str, String)> {
        if self.etcd.is_empty() || self.etcd.len() > MAX_MEMBERS {
            return Err((
                "store.etcd",
                format!("must name 1 to {MAX_MEMBERS} members of the cluster"),
            ));
        }
        for member in &self.etcd {
            let peer = Peer::parse(member).map_err(|error| ("store.etcd", error.to_string()))?;
            if !peer.is_tls() && !peer.is_loopback() {
                let message = format!("`{}` must be https: only loopback addresses go without TLS", peer.uri());
                return Err(("store.etcd", message));
            }
            if peer.is_tls() && self.ca_file.is_none() {
                return Err(("store.ca_file", "is needed to verify the members over https".to_owned()));
            }
        }
        if self.certificate_file.is_some() != self.key_file.is_some() {
            let message = "goes with `certificate_file`: give both or neither";
            return Err(("store.key_file", message.to_owned()));
        }
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if self.replica.is_empty() || self.replica.len() > MAX_REPLICA || !self.replica.bytes().all(is_name) {
            return Err(("store.replica", format!("must have 1 to {MAX_REPLICA} of a-z 0-9 -")));
        }
        let is_path = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte);
        if !self.prefix.starts_with('/') || self.prefix.len() > MAX_PREFIX || !self.prefix.bytes().all(is_path) {
            let message = format!("must begin with / and have at most {MAX_PREFIX} of a-z A-Z 0-9 / - _ .");
            return Err(("store.prefix", message));
        }
        Ok(())
    }

    /// Reads the files it names.
    ///
    /// # Errors
    /// The field, and what is wrong with it.
    pub(crate) fn settings(&self) -> Result<EtcdSettings, (&'static str, String)> {
        self.check()?;
        let members = self.etcd.iter().map(|member| Peer::parse(member));
        let members: Result<Vec<Peer>, _> = members.collect();
        let members = members.map_err(|error| ("store.etcd", error.to_string()))?;
        let roots = match &self.ca_file {
            Some(file) => certificates(file).map_err(|message| ("store.ca_file", message))?,
            None => Vec::new(),
        };
        let shown = match (&self.certificate_file, &self.key_file) {
            (Some(chain), Some(key)) => {
                let chain = certificates(chain).map_err(|message| ("store.certificate_file", message))?;
                let key = PrivateKeyDer::from_pem_file(key).map_err(|error| ("store.key_file", unread(key, &error)))?;
                Some((chain, key))
            }
            _ => None,
        };
        let tls = channel::tls(roots, shown).map_err(|error| ("store.certificate_file", error.to_string()))?;
        Ok(EtcdSettings {
            members,
            tls: Arc::new(tls),
            prefix: self.prefix.clone(),
        })
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => Err(format!("`{}` has no certificate in it", file.display())),
        Ok(found) => Ok(found),
        Err(error) => Err(unread(file, &error)),
    }
}

fn unread(file: &Path, error: &dyn std::fmt::Display) -> String {
    format!("`{}` cannot be read: {error}", file.display())
}

impl<'de> Deserialize<'de> for StoreConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = StoreConfig;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("\"redb\", or a table with the members of an etcd cluster: { etcd = [\"https://…\"], replica = \"a\" }")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<StoreConfig, E> {
                match text {
                    "redb" => Ok(StoreConfig::Redb),
                    "etcd" => Err(E::custom(
                        "etcd needs to be told which: store = { etcd = [\"https://HOST:2379\"], replica = \"a\", … }",
                    )),
                    other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<StoreConfig, A::Error> {
                EtcdConfig::deserialize(MapAccessDeserializer::new(map)).map(StoreConfig::Etcd)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct File {
        #[serde(default)]
        store: StoreConfig,
    }

    fn parse(text: &str) -> Result<StoreConfig, String> {
        let file: File = node::config::parse("authority.toml", text).map_err(|error| error.to_string())?;
        if let StoreConfig::Etcd(etcd) = &file.store {
            etcd.check().map_err(|(field, message)| format!("{field}: {message}"))?;
        }
        Ok(file.store)
    }

    #[test]
    fn a_store_is_a_name_or_a_table() {
        assert!(matches!(parse("").unwrap(), StoreConfig::Redb));
        assert!(matches!(parse("store = \"redb\"").unwrap(), StoreConfig::Redb));
        let members = "etcd = [\"https://a:2379\", \"https://b:2379\"]";
        let table = format!("[store]\n{members}\nreplica = \"a-1\"\nca_file = \"ca.pem\"");
        let StoreConfig::Etcd(etcd) = parse(&table).unwrap() else {
            panic!()
        };
        assert_eq!(
            (etcd.etcd.len(), etcd.replica.as_str(), etcd.prefix.as_str()),
            (2, "a-1", "/signet")
        );
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        let cases = [
            ("\"postgres\"", "or a table with the members"),
            ("7", "or a table with the members"),
            ("\"etcd\"", "needs to be told which"),
            ("{ etcd = [\"https://a:1\"] }", "replica"),
            ("{ etcd = [\"https://a:1\"], replica = \"a\" }", "store.ca_file"),
            ("{ etcd = [\"http://10.0.0.1:1\"], replica = \"a\" }", "must be https"),
            (
                "{ etcd = [\"a:1\"], replica = \"a\" }",
                "store.etcd: `a:1` is not https://HOST:PORT",
            ),
            ("{ etcd = [], replica = \"a\" }", "store.etcd"),
            ("{ etcd = [\"http://[::1]:1\"], replica = \"A b\" }", "store.replica"),
            (
                "{ etcd = [\"http://[::1]:1\"], replica = \"a\", prefix = \"x\" }",
                "store.prefix",
            ),
            (
                "{ etcd = [\"http://[::1]:1\"], replica = \"a\", key_file = \"k\" }",
                "store.key_file",
            ),
            ("{ etcd = [\"http://[::1]:1\"], replica = \"a\", user = \"k\" }", "user"),
        ];
        for (store, named) in cases {
            let error = parse(&format!("store = {store}")).unwrap_err();
            assert!(error.contains(named), "`{store}` gave: {error}");
        }
    }

    #[test]
    fn files_that_do_not_read_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        let of = |members: &str| {
            let text = format!(
                "[store]\netcd = [\"{members}\"]\nreplica = \"a\"\nca_file = \"{}\"",
                file.display()
            );
            let StoreConfig::Etcd(etcd) = parse(&text).unwrap() else {
                panic!()
            };
            etcd.settings().map(|settings| settings.members.len())
        };
        let missing = of("https://a:1").unwrap_err();
        assert!(
            missing.0 == "store.ca_file" && missing.1.contains("cannot be read"),
            "{missing:?}"
        );
        std::fs::write(&file, "nothing").unwrap();
        let empty = of("https://a:1").unwrap_err();
        assert!(empty.1.contains("has no certificate in it"), "{empty:?}");
    }
}
