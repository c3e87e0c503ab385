//! What is pushed is pulled; what somebody changed in between is refused.

use signing::Algorithm;
use signing::key::SigningKey;
use signing::signature::fixed_to_der;

use super::*;

/// A store in a directory that lies about what it holds.
struct Lying {
    store: Layout,
    /// Makes something else of a manifest.
    manifest: fn(Vec<u8>) -> Vec<u8>,
    /// Makes something else of a blob.
    blob: fn(Vec<u8>) -> Vec<u8>,
    /// Sizes of the blobs that were asked for.
    asked: Vec<u64>,
}

impl Store for Lying {
    fn manifest(&mut self, name: &Name) -> Result<Option<Vec<u8>>, Failure> {
        let content = self.store.manifest(name)?;
        Ok(content.map(self.manifest))
    }

    fn blob(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, Failure> {
        self.asked.push(descriptor.size);
        self.store.blob(descriptor).map(self.blob)
    }

    fn put_blob(&mut self, content: &[u8]) -> Result<(), Failure> {
        self.store.put_blob(content)
    }

    fn put_manifest(&mut self, tag: Option<&str>, content: &[u8]) -> Result<(), Failure> {
        self.store.put_manifest(tag, content)
    }
}

const WASM: &[u8] = b"\0asm\x0d\0\x01\0";

fn store(dir: &tempfile::TempDir) -> Lying {
    let root = dir.path().join("artifacts");
    Layout::create(&root).unwrap();
    Lying {
        store: Layout::open(&root).unwrap(),
        manifest: |content| content,
        blob: |content| content,
        asked: Vec::new(),
    }
}

fn signer(algorithm: Algorithm) -> Signer<'static> {
    let key = SigningKey::generate(algorithm).unwrap();
    let public = key.public().unwrap().clone();
    let sign = move |message: &[u8]| -> Result<Vec<u8>, Failure> {
        let signature = key.sign(message)?;
        match algorithm {
            Algorithm::Es256 => Ok(fixed_to_der(algorithm, &signature)?),
            _ => Ok(signature),
        }
    };
    Signer {
        key: public,
        sign: Box::new(sign),
    }
}

fn pushed(store: &mut dyn Store, signer: &mut Signer<'_>) -> Digest {
    pushed_as(store, WASM, signer)
}

fn pushed_as(store: &mut dyn Store, wasm: &[u8], signer: &mut Signer<'_>) -> Digest {
    let artifact = Artifact {
        wasm,
        title: "rule.wasm",
        imports: &[],
        exports: &[],
        identity: "registry.example/rule",
    };
    push(store, &artifact, Some("1.0"), signer).unwrap()
}

fn tag() -> Name {
    Name::Tag("1.0".to_owned())
}

fn refused(store: &mut Lying, name: &Name, key: &PublicKey) -> String {
    pull(store, name, Some(key)).unwrap_err().to_string()
}

#[test]
fn what_is_pushed_is_pulled_by_tag_and_by_digest() {
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, mut signer) = (store(&dir), signer(algorithm));
        let digest = pushed(&mut store, &mut signer);
        for name in [tag(), Name::Digest(digest.clone())] {
            let pulled = pull(&mut store, &name, Some(&signer.key)).unwrap();
            assert_eq!((pulled.wasm.as_slice(), &pulled.digest), (WASM, &digest));
            assert_eq!(pulled.verified.unwrap().identity(), "registry.example/rule");
        }
        let none = pull(&mut store, &Name::Tag("2.0".to_owned()), None)
            .unwrap_err()
            .to_string();
        assert!(none.contains("there is no `2.0`"), "{none}");
    }
}

#[test]
fn pushing_again_changes_nothing_and_another_key_signs_beside() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, mut first, mut second) = (store(&dir), signer(Algorithm::Es256), signer(Algorithm::EdDsa));
    let digest = pushed(&mut store, &mut first);
    let signatures = Name::Tag(format!(
        "sha256-{}.sig",
        digest.to_string().trim_start_matches("sha256:")
    ));
    let before = store.manifest(&signatures).unwrap();
    assert_eq!(pushed(&mut store, &mut first), digest);
    assert_eq!(store.manifest(&signatures).unwrap(), before);
    pushed(&mut store, &mut second);
    for key in [&first.key, &second.key] {
        assert!(pull(&mut store, &tag(), Some(key)).unwrap().verified.is_some());
    }
    let content = store.manifest(&signatures).unwrap().unwrap();
    assert_eq!(Manifest::read(&content).unwrap().layers.len(), 2);
}

#[test]
fn what_another_key_signed_is_refused_before_the_component_is_fetched() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, mut signer_here, other) = (store(&dir), signer(Algorithm::Es256), signer(Algorithm::Es256));
    let digest = pushed(&mut store, &mut signer_here);
    store.asked.clear();
    let why = refused(&mut store, &tag(), &other.key);
    assert!(why.ends_with("not signed by that key; one signature is there"), "{why}");
    let component = u64::try_from(WASM.len()).unwrap();
    assert!(!store.asked.contains(&component), "{:?}", store.asked);
    // Only where nobody asks for a signature.
    assert_eq!(pull(&mut store, &tag(), None).unwrap().digest, digest);
    pushed(&mut store, &mut signer(Algorithm::EdDsa));
    let why = refused(&mut store, &tag(), &other.key);
    assert!(why.ends_with("; 2 signatures are there"), "{why}");
}

#[test]
fn a_signature_of_another_artifact_is_none_of_this_one() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, mut signer) = (store(&dir), signer(Algorithm::Es256));
    let first = pushed(&mut store, &mut signer);
    let sig = |digest: &Digest| format!("sha256-{}.sig", digest.to_string().trim_start_matches("sha256:"));
    let signatures = store.manifest(&Name::Tag(sig(&first))).unwrap().unwrap();
    // Nobody signed this one: somebody put the other's signatures beside it.
    let artifact = Artifact {
        wasm: b"\0asm other",
        title: "rule.wasm",
        imports: &[],
        exports: &[],
        identity: "",
    };
    let (config, content) = manifest::of_plugin(&artifact).unwrap();
    store.put_blob(&config).unwrap();
    store.put_blob(artifact.wasm).unwrap();
    store.put_manifest(Some("1.0"), &content).unwrap();
    let why = refused(&mut store, &tag(), &signer.key);
    assert!(why.contains("has no signature"), "{why}");
    store.put_manifest(Some(&sig(&sha256(&content))), &signatures).unwrap();
    let why = refused(&mut store, &tag(), &signer.key);
    assert!(why.contains("not signed by that key"), "{why}");
}

#[test]
fn what_somebody_put_beside_a_signature_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, mut signer_here, other) = (store(&dir), signer(Algorithm::Es256), signer(Algorithm::Es256));
    let digest = pushed(&mut store, &mut signer_here);
    let name = format!("sha256-{}.sig", digest.to_string().trim_start_matches("sha256:"));
    let content = store.manifest(&Name::Tag(name.clone())).unwrap().unwrap();
    let mut signatures: serde_json::Value = serde_json::from_slice(&content).unwrap();
    let good = signatures["layers"][0].clone();
    let with = |member: &str, value: serde_json::Value| {
        let mut layer = good.clone();
        layer[member] = value;
        layer
    };
    let junk = [
        with("digest", sha256(b"not there").to_string().into()),
        with("digest", "sha256:../../x".into()),
        with("size", (64_u64 << 20).into()),
        with("mediaType", "text/plain".into()),
        with(
            "annotations",
            serde_json::json!({"dev.cosignproject.cosign/signature": "%"}),
        ),
    ];
    signatures["layers"] = junk.iter().chain([&good]).cloned().collect();
    store
        .put_manifest(Some(&name), signatures.to_string().as_bytes())
        .unwrap();
    assert!(
        pull(&mut store, &tag(), Some(&signer_here.key))
            .unwrap()
            .verified
            .is_some()
    );
    // Where none is found, the first thing that was wrong is told.
    let why = refused(&mut store, &tag(), &other.key);
    assert!(why.contains("is not in"), "{why}");
}

#[test]
fn what_comes_must_be_what_its_digest_says() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, mut signer) = (store(&dir), signer(Algorithm::EdDsa));
    let digest = pushed(&mut store, &mut signer);
    store.manifest = |content| [content.as_slice(), b" "].concat();
    let why = refused(&mut store, &Name::Digest(digest.clone()), &signer.key);
    assert!(why.contains(&format!("not {digest}")), "{why}");
    // By tag it is another artifact, and has no signature.
    let why = refused(&mut store, &tag(), &signer.key);
    assert!(why.contains("has no signature"), "{why}");
    store.manifest = |content| content;
    let lies: [fn(Vec<u8>) -> Vec<u8>; 2] = [|_| Vec::new(), |content| content.iter().map(|byte| byte ^ 1).collect()];
    for lie in lies {
        store.blob = lie;
        let why = pull(&mut store, &tag(), None).unwrap_err().to_string();
        assert!(why.contains("is another"), "{why}");
    }
}

#[test]
fn a_layer_that_says_it_is_too_large_is_not_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, mut signer) = (store(&dir), signer(Algorithm::EdDsa));
    pushed(&mut store, &mut signer);
    store.asked.clear();
    store.manifest = |content| {
        let mut manifest: serde_json::Value = serde_json::from_slice(&content).unwrap();
        manifest["layers"][0]["size"] = (33_u64 << 20).into();
        serde_json::to_vec(&manifest).unwrap()
    };
    let why = pull(&mut store, &tag(), None).unwrap_err().to_string();
    assert!(why.contains("34603008 bytes, at most 33554432"), "{why}");
    assert!(store.asked.is_empty());
}

#[test]
fn what_is_no_signature_is_not_stored() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, mut signer) = (store(&dir), signer(Algorithm::Es256));
    signer.sign = Box::new(|_| Ok(vec![0; 70]));
    let artifact = Artifact {
        wasm: WASM,
        title: "rule.wasm",
        imports: &[],
        exports: &[],
        identity: "",
    };
    let why = push(&mut store, &artifact, Some("1.0"), &mut signer)
        .unwrap_err()
        .to_string();
    assert!(why.contains("no signature of that key"), "{why}");
    assert!(store.manifest(&tag()).unwrap().is_none(), "the tag came first");
}

#[test]
fn a_key_is_one_that_cosign_checks_alike() {
    let pem = |algorithm| {
        let key = SigningKey::generate(algorithm).unwrap();
        signing::certificate::pem_encode("PUBLIC KEY", key.public().unwrap().to_spki_der())
    };
    assert_eq!(
        signs_with(&read_key(&pem(Algorithm::Es256)).unwrap()).unwrap(),
        "ECDSA_SHA_256"
    );
    assert_eq!(
        signs_with(&read_key(&pem(Algorithm::EdDsa)).unwrap()).unwrap(),
        "ED25519_SHA_512"
    );
    let refused = read_key(&pem(Algorithm::Es384)).unwrap_err().to_string();
    assert!(refused.contains("take a key of ECC_NIST_P256"), "{refused}");
    let both = format!("{}{}", pem(Algorithm::Es256), pem(Algorithm::Es256));
    for (text, count) in [("", "0 public keys"), (both.as_str(), "2 public keys")] {
        let refused = read_key(text).unwrap_err().to_string();
        assert!(refused.contains(count), "{refused}");
    }
}
