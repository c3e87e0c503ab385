//! Where a plugin's component is kept, for a bundle that names it instead of holding it.
//!
//! Whoever sends the bundle fetches it (`signet bundle apply`) and checks it against the digest and the key that are
//! named here. The authority gets the file: it fetches nothing, and keeps the source as what the operator went by.

use serde::Deserialize;

use super::{BundleError, Document, File, Files, index};

/// A plugin's component that is elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The bundle's file that it becomes, such as `plugins/x.wasm`.
    pub file: String,
    /// What to fetch: a reference that ends in `@sha256:` and the digest of the artifact's manifest, 64 hex digits.
    pub artifact: String,
    /// The public key that must have signed it, PEM.
    pub key: String,
    /// Where the bundle says so, for messages: `bundle.toml: plugins[0].source`.
    pub at: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSource {
    artifact: String,
    key: String,
}

/// The sources that the `bundle.toml` of a folder names; none where it is not there or cannot be read, which
/// [`Bundle::parse`](super::Bundle::parse) tells with all else that is wrong.
///
/// # Errors
/// A source is not pinned to a digest, or names no key of the bundle.
pub fn of(files: &[File]) -> Result<Vec<Source>, BundleError> {
    #[derive(Deserialize)]
    struct Manifest {
        #[serde(default)]
        plugins: Vec<Plugin>,
    }
    #[derive(Deserialize)]
    struct Plugin {
        #[serde(default)]
        file: String,
        source: Option<RawSource>,
    }
    let by_path = index(files, &mut Vec::new());
    let Some(content) = by_path.get("bundle.toml") else {
        return Ok(Vec::new());
    };
    let Ok(document) = Document::new("bundle.toml", content) else {
        return Ok(Vec::new());
    };
    let Ok(manifest) = document.read::<Manifest>() else {
        return Ok(Vec::new());
    };
    let mut sources = Vec::new();
    for (place, plugin) in manifest.plugins.into_iter().enumerate() {
        if let Some(raw) = plugin.source {
            sources.push(raw.build(plugin.file, place, &document, &by_path)?);
        }
    }
    Ok(sources)
}

impl RawSource {
    /// Of the plugin at `place` in the list.
    pub(super) fn build(
        self,
        file: String,
        place: usize,
        document: &Document<'_>,
        files: &Files<'_>,
    ) -> Result<Source, BundleError> {
        let field = format!("plugins[{place}].source");
        if !file.starts_with("plugins/") {
            let hint = "write the path that it gets in the bundle, such as plugins/x.wasm";
            return Err(document.error(&format!("plugins[{place}].file"), "not under plugins/", hint));
        }
        if !is_pinned(&self.artifact) {
            let hint =
                "write the reference that `signet plugin push` printed, which ends in @sha256: and 64 hex digits";
            let message = format!("`{:.200}` is not pinned to a digest", self.artifact);
            return Err(document.error(&format!("{field}.artifact"), message, hint));
        }
        let content = files.get(self.key.as_str()).filter(|_| self.key.starts_with("trust/"));
        let pem = content.and_then(|content| std::str::from_utf8(content).ok());
        let is_key =
            |pem: &&str| signing::certificate::pem_decode("PUBLIC KEY", pem).is_ok_and(|blocks| blocks.len() == 1);
        let Some(pem) = pem.filter(is_key) else {
            let hint = "put the key that `signet keys public-key` prints into trust/ and write its path, such as trust/plugins.pub";
            let message = format!("the bundle has no public key `{:.128}` under trust/", self.key);
            return Err(document.error(&format!("{field}.key"), message, hint));
        };
        Ok(Source {
            file,
            artifact: self.artifact,
            key: pem.to_owned(),
            at: format!("bundle.toml: {field}"),
        })
    }
}

fn is_pinned(artifact: &str) -> bool {
    let digest = artifact
        .rsplit_once('@')
        .and_then(|(_, digest)| digest.strip_prefix("sha256:"));
    digest.is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bundle;

    const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn files(source: &str) -> Vec<File> {
        let manifest = format!("[[plugins]]\nname = \"rule\"\nfile = \"plugins/rule.wasm\"\nsource = {source}\n");
        let pem = signing::certificate::pem_encode("PUBLIC KEY", b"key");
        vec![
            ("bundle.toml".to_owned(), manifest.into_bytes()),
            ("trust/plugins.pub".to_owned(), pem.into_bytes()),
        ]
    }

    #[test]
    fn a_source_is_pinned_and_signed() {
        let good = format!("{{ artifact = \"oci://h/rule@sha256:{DIGEST}\", key = \"trust/plugins.pub\" }}");
        let source = of(&files(&good)).unwrap().remove(0);
        assert_eq!(
            (source.file.as_str(), source.at.as_str()),
            ("plugins/rule.wasm", "bundle.toml: plugins[0].source")
        );
        let refused = |source: &str| of(&files(source)).unwrap_err().to_string();
        let by_tag = refused("{ artifact = \"oci://h/rule:1.0\", key = \"trust/plugins.pub\" }");
        assert!(
            by_tag.contains("bundle.toml:4:") && by_tag.contains("not pinned"),
            "{by_tag}"
        );
        for key in ["plugins.pub", "trust/none.pub", "bundle.toml"] {
            let refused = refused(&good.replace("trust/plugins.pub", key));
            assert!(refused.contains("no public key"), "{refused}");
        }
        let without_key = files("{ artifact = \"x\" }");
        assert_eq!([of(&without_key), of(&[])], [Ok(Vec::new()), Ok(Vec::new())]);
        assert!(
            Bundle::parse(&without_key).unwrap_err()[0]
                .to_string()
                .contains("missing field")
        );
    }

    #[test]
    fn a_bundle_whose_component_was_not_fetched_says_how() {
        let good = format!("{{ artifact = \"../artifacts@sha256:{DIGEST}\", key = \"trust/plugins.pub\" }}");
        let mut files = files(&good);
        let errors = Bundle::parse(&files).unwrap_err();
        assert!(
            errors[0].to_string().contains("`signet bundle apply` fetches it"),
            "{errors:?}"
        );
        files.push(("plugins/rule.wasm".to_owned(), b"\0asm".to_vec()));
        let bundle = Bundle::parse(&files).unwrap();
        assert_eq!(bundle.plugin("rule").unwrap().file, "plugins/rule.wasm");
        files[0].1 = String::from_utf8(files[0].1.clone())
            .unwrap()
            .replace("@sha256", "@sha512")
            .into_bytes();
        assert!(Bundle::parse(&files).unwrap_err()[0].to_string().contains("not pinned"));
    }
}
