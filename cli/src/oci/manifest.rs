//! A plugin's manifest: the CNCF's Wasm OCI Artifact Layout, one component in one layer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;
use signing::DigestAlgorithm;
use signing::digest::Digest;

use super::Artifact;
use super::reference::sha256_digest;
use crate::failure::Failure;

/// The largest manifest that is looked at, as most registries have it, in bytes.
pub const MOST_MANIFEST: usize = 4 << 20;
const MOST_LAYERS: usize = 64;

/// The media type of an OCI image manifest (OCI image specification 1.1).
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of an OCI image index: several manifests, for the caller to choose from.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const WASM: &str = "application/wasm";
const TITLE: &str = "org.opencontainers.image.title";

/// What is named, by its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What kind of thing it is.
    pub media_type: String,
    /// `sha256:HEX`, as it came; [`Descriptor::digest`] reads it.
    pub digest: String,
    /// Bytes.
    pub size: u64,
    /// Texts beside it, on which nothing rests that is not checked otherwise.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An OCI image manifest. Members that are not here are left out when it is written again.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    schema_version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    /// What says of which kind the artifact is.
    pub config: Descriptor,
    /// What it is made of.
    pub layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// Of this content.
    pub fn of(media_type: &str, content: &[u8]) -> Descriptor {
        Descriptor {
            media_type: media_type.to_owned(),
            digest: sha256(content).to_string(),
            size: u64::try_from(content.len()).unwrap_or(u64::MAX),
            annotations: BTreeMap::new(),
        }
    }

    /// The digest, which is SHA-256: others are not taken.
    pub fn digest(&self) -> Result<Digest, Failure> {
        let bad = || Failure::new(format!("`{:.128}` is no SHA-256 digest", self.digest));
        sha256_digest(&self.digest).ok_or_else(bad)
    }
}

impl Manifest {
    /// Of these parts.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Manifest {
        Manifest {
            schema_version: 2,
            media_type: Some(MANIFEST.to_owned()),
            config,
            layers,
            annotations: BTreeMap::new(),
        }
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// It is an index of several manifests, another kind, too large, or has too many layers.
    pub fn read(content: &[u8]) -> Result<Manifest, Failure> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Kind {
            media_type: Option<String>,
            manifests: Option<serde::de::IgnoredAny>,
        }
        if content.len() > MOST_MANIFEST {
            return Err(Failure::new(format!("it has more than {MOST_MANIFEST} bytes")));
        }
        let kind: Kind = serde_json::from_slice(content)?;
        if kind.manifests.is_some() || kind.media_type.as_deref() == Some(INDEX) {
            let text = "it is an index of several manifests; name the one that is meant by its digest";
            return Err(Failure::new(text));
        }
        if let Some(other) = kind.media_type.filter(|kind| kind != MANIFEST) {
            return Err(Failure::new(format!(
                "its media type is `{other:.128}`, not {MANIFEST}"
            )));
        }
        let manifest: Manifest = serde_json::from_slice(content)?;
        if manifest.schema_version != 2 || manifest.layers.len() > MOST_LAYERS {
            return Err(Failure::new(format!(
                "it is of another version, or has more than {MOST_LAYERS} layers"
            )));
        }
        Ok(manifest)
    }

    /// The component.
    ///
    /// # Errors
    /// It is not the manifest of one WebAssembly file.
    pub fn wasm(&self) -> Result<&Descriptor, Failure> {
        let kind = &self.config.media_type;
        if kind != CONFIG {
            return Err(Failure::new(format!(
                "its config is `{kind:.128}`, not {CONFIG}: it is no WebAssembly artifact"
            )));
        }
        match self.layers.as_slice() {
            [layer] if layer.media_type == WASM => Ok(layer),
            [layer] => Err(Failure::new(format!(
                "its layer is `{:.128}`, not {WASM}",
                layer.media_type
            ))),
            layers => Err(Failure::new(format!(
                "it has {} layers; a plugin has one",
                layers.len()
            ))),
        }
    }
}

/// The config and the manifest of a plugin. The same component under the same file name gives the same bytes, whenever
/// it is pushed: its time is that of nothing.
pub fn of_plugin(artifact: &Artifact<'_>) -> Result<(Vec<u8>, Vec<u8>), Failure> {
    let mut layer = Descriptor::of(WASM, artifact.wasm);
    layer.annotations = BTreeMap::from([(TITLE.to_owned(), artifact.title.to_owned())]);
    let config = serde_json::to_vec(&json!({
        "created": "1970-01-01T00:00:00Z",
        "architecture": "wasm",
        // The layout's word for a component, whatever it imports.
        "os": "wasip2",
        "layerDigests": [layer.digest],
        "component": {"exports": artifact.exports, "imports": artifact.imports, "target": null},
    }))?;
    let manifest = Manifest::new(Descriptor::of(CONFIG, &config), vec![layer]);
    Ok((config, serde_json::to_vec(&manifest)?))
}

/// SHA-256.
pub fn sha256(content: &[u8]) -> Digest {
    Digest::of(DigestAlgorithm::Sha256, content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact() -> Artifact<'static> {
        Artifact {
            wasm: b"\0asm",
            title: "rule.wasm",
            imports: &[],
            exports: &[],
            identity: "h/rule",
        }
    }

    #[test]
    fn a_plugin_is_what_the_layout_says_and_the_same_each_time() {
        let (config, content) = of_plugin(&artifact()).unwrap();
        assert_eq!(of_plugin(&artifact()).unwrap().1, content);
        let manifest = Manifest::read(&content).unwrap();
        let layer = manifest.wasm().unwrap();
        assert_eq!((layer.digest().unwrap(), layer.size), (sha256(b"\0asm"), 4));
        assert_eq!(layer.annotations[TITLE], "rule.wasm");
        assert_eq!(manifest.config, Descriptor::of(CONFIG, &config));
        let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
        assert_eq!(
            (&config["os"], &config["layerDigests"][0]),
            (&json!("wasip2"), &json!(layer.digest))
        );
    }

    #[test]
    fn another_manifest_is_refused_by_its_kind() {
        let (_, content) = of_plugin(&artifact()).unwrap();
        let text = String::from_utf8(content).unwrap();
        let (_, layers) = text.split_once("\"layers\":[").unwrap();
        let layer = layers.split_once("]}").unwrap().0;
        let two = text.replace(layer, &format!("{layer},{layer}"));
        let cases = [
            ("{}".to_owned(), "missing field"),
            (r#"{"schemaVersion":2,"manifests":[]}"#.to_owned(), "index of several"),
            (
                text.replace(MANIFEST, "application/vnd.docker.distribution.manifest.v2+json"),
                "its media type is",
            ),
            (
                text.replace("\"schemaVersion\":2", "\"schemaVersion\":1"),
                "another version",
            ),
            (
                text.replace(CONFIG, "application/vnd.oci.image.config.v1+json"),
                "no WebAssembly artifact",
            ),
            (
                text.replace(WASM, "application/vnd.oci.image.layer.v1.tar"),
                "not application/wasm",
            ),
            (two, "a plugin has one"),
            (" ".repeat(MOST_MANIFEST.saturating_add(1)), "more than 4194304 bytes"),
        ];
        for (text, expected) in cases {
            let read = Manifest::read(text.as_bytes()).and_then(|manifest| manifest.wasm().cloned());
            let error = read.unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
}
