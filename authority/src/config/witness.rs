//! `[[witness]]` sections: who cosigns the audit log's checkpoints. Nothing but this file names a witness.

use std::path::PathBuf;

use audit::note::cosign::WitnessKey;
use serde::Deserialize;

use super::export::is_loopback;

/// Witnesses at most.
const MOST: usize = 16;

/// One witness.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessConfig {
    /// What it is reached by, without the protocol's `/add-checkpoint`. `http://` is for a loopback address only.
    pub url: String,
    /// Its verifier key, as `signet witness init` printed it. Another one, and what it answers is not believed.
    pub key: String,
    /// CA certificates, PEM, in place of the system's.
    pub ca_file: Option<PathBuf>,
}

/// The first witness that cannot be, and why.
pub(super) fn check(witnesses: &[WitnessConfig]) -> Result<(), (&'static str, String)> {
    if witnesses.len() > MOST {
        return Err(("witness", format!("has at most {MOST} sections")));
    }
    let mut keys = std::collections::HashSet::new();
    for witness in witnesses {
        let key: WitnessKey = witness
            .key
            .parse()
            .map_err(|error| ("witness.key", format!("{error}")))?;
        // Files and metrics go by them.
        if !keys.insert(key.id()) || !keys.insert(key.name().to_owned()) {
            return Err(("witness.key", format!("names the witness `{}` twice", key.name())));
        }
        let loopback = match witness.url.split_once("://") {
            Some(("https", _)) => true,
            Some(("http", rest)) => is_loopback(rest.split('/').next().unwrap_or_default()),
            _ => false,
        };
        if !loopback {
            let message = "must begin with https:// (or http:// on a loopback address)";
            return Err(("witness.url", message.into()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "w.example/1+8afe1eeb+BJ1hsZ3tcvsLxJAzVXlqKOlnzYmvbc4bxuLULd8dqNe2";

    fn key(name: &str) -> String {
        use signing::algorithm::Algorithm;
        let key = signing::key::SigningKey::generate(Algorithm::EdDsa).unwrap();
        let key = audit::note::cosign::Cosigner::new(name, key).unwrap();
        key.verifier().to_string()
    }

    fn witness(url: &str, key: &str) -> WitnessConfig {
        WitnessConfig {
            url: url.into(),
            key: key.into(),
            ca_file: None,
        }
    }

    #[test]
    fn wrong_ones_are_refused_by_field() {
        let (one, two) = (key("w/1"), key("w/2"));
        let good = [
            witness("https://w.example", &one),
            witness("http://127.0.0.1:8449", &two),
        ];
        assert_eq!(check(&good), Ok(()));
        let refused = |witnesses: &[WitnessConfig]| check(witnesses).unwrap_err().0;
        assert_eq!(
            refused(&[witness("https://w.example", KEY)]),
            "witness.key",
            "the id is wrong"
        );
        assert_eq!(refused(&[witness("http://w.example", &one)]), "witness.url");
        assert_eq!(refused(&[witness("w.example", &one)]), "witness.url");
        assert_eq!(refused(&[good[0].clone(), good[0].clone()]), "witness.key");
        assert_eq!(
            refused(&[good[0].clone(), witness("https://w", &key("w/1"))]),
            "witness.key"
        );
        assert_eq!(refused(&vec![good[0].clone(); 17]), "witness");
    }
}
