//! The same keys and algorithms in Debian's `openssl`.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::*;

const MESSAGE: &[u8] = b"seen by two implementations";

/// Runs openssl in a folder; gives its output, or none when it failed.
pub(super) fn openssl(dir: &Path, arguments: &str) -> Option<Vec<u8>> {
    let output = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(dir)
        .output()
        .expect("openssl is installed");
    output.status.success().then_some(output.stdout)
}

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(dir.path().join(name), content).unwrap();
    }
    dir
}

/// How openssl's `dgst` is told of an algorithm.
fn dgst(algorithm: SigningAlgorithm) -> String {
    let name = algorithm.as_str();
    let hash = name.rsplit('_').next().unwrap();
    let padding = if name.contains("PSS") {
        "-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest"
    } else {
        ""
    };
    format!("dgst -sha{hash} {padding}")
}

#[test]
fn public_keys_are_encoded_alike() {
    for (spec, _) in KEY_FILES {
        let dir = folder(&[("key", &pkcs8(spec))]);
        let theirs = openssl(dir.path(), "pkey -in key -inform DER -pubout -outform DER").unwrap();
        assert_eq!(key(spec).public_spki_der(), Some(&theirs[..]), "{spec}");
    }
}

#[test]
fn private_keys_are_read_by_both() {
    for (spec, _) in KEY_FILES {
        let exported = key(spec).private_pkcs8_der().unwrap();
        let dir = folder(&[("key", exported.expose())]);
        let theirs = openssl(dir.path(), "pkey -in key -inform DER -pubout -outform DER").unwrap();
        assert_eq!(key(spec).public_spki_der(), Some(&theirs[..]), "{spec}");
    }
}

#[test]
fn signatures_verify_at_the_other() {
    for (spec, _) in KEY_FILES
        .into_iter()
        .filter(|(spec, _)| *spec != KeySpec::EccNistEdwards25519)
    {
        let key = key(spec);
        let public = key.public_key().unwrap();
        for algorithm in spec.signing_algorithms(KeyUsage::SignVerify) {
            let signature = key.sign(*algorithm, Message::Raw(MESSAGE)).unwrap();
            let dir = folder(&[
                ("key", &pkcs8(spec)),
                ("public", public.spki_der()),
                ("message", MESSAGE),
                ("signature", &signature),
            ]);
            let dgst = dgst(*algorithm);
            let verify = format!("{dgst} -verify public -keyform DER -signature signature message");
            assert!(openssl(dir.path(), &verify).is_some(), "{spec} {algorithm}");
            let theirs = openssl(dir.path(), &format!("{dgst} -sign key -keyform DER message")).unwrap();
            public.verify(*algorithm, Message::Raw(MESSAGE), &theirs).unwrap();
        }
    }
}

#[test]
fn ed25519_signatures_are_the_same() {
    let spec = KeySpec::EccNistEdwards25519;
    let signature = key(spec)
        .sign(SigningAlgorithm::Ed25519Sha512, Message::Raw(MESSAGE))
        .unwrap();
    let dir = folder(&[("key", &pkcs8(spec)), ("message", MESSAGE)]);
    let theirs = openssl(dir.path(), "pkeyutl -sign -rawin -inkey key -keyform DER -in message");
    assert_eq!(theirs.as_deref(), Some(&signature[..]));
}

#[test]
fn oaep_decrypts_at_the_other() {
    for spec in [KeySpec::Rsa2048, KeySpec::Rsa3072, KeySpec::Rsa4096] {
        let key = key(spec);
        let public = key.public_key().unwrap();
        for (algorithm, hash) in [
            (EncryptionAlgorithm::RsaesOaepSha1, "sha1"),
            (EncryptionAlgorithm::RsaesOaepSha256, "sha256"),
        ] {
            let ciphertext = public.encrypt(algorithm, MESSAGE).unwrap();
            let dir = folder(&[
                ("key", &pkcs8(spec)),
                ("public", public.spki_der()),
                ("message", MESSAGE),
                ("ciphertext", &ciphertext),
            ]);
            let options = format!(
                "-keyform DER -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:{hash} -pkeyopt rsa_mgf1_md:{hash}"
            );
            let decrypted = openssl(
                dir.path(),
                &format!("pkeyutl -decrypt -inkey key -in ciphertext {options}"),
            );
            assert_eq!(decrypted.as_deref(), Some(MESSAGE), "{spec} {algorithm}");
            let encrypt = format!("pkeyutl -encrypt -pubin -inkey public -in message {options}");
            let theirs = openssl(dir.path(), &encrypt).unwrap();
            assert_eq!(*key.decrypt(algorithm, &theirs).unwrap(), MESSAGE, "{spec} {algorithm}");
        }
    }
}

#[test]
fn shared_secrets_are_the_same() {
    for spec in [KeySpec::EccNistP256, KeySpec::EccNistP384, KeySpec::EccNistP521] {
        let peer = Material::generate(spec).unwrap();
        let peer = peer.public_spki_der().unwrap();
        let ours = key(spec).derive_shared_secret(peer).unwrap();
        let dir = folder(&[("key", &pkcs8(spec)), ("peer", peer)]);
        let derive = "pkeyutl -derive -inkey key -keyform DER -peerkey peer -peerform DER";
        assert!(ours.matches(&openssl(dir.path(), derive).unwrap()), "{spec}");
    }
}

#[test]
fn macs_are_the_same() {
    for (spec, hash) in [
        (KeySpec::Hmac224, "sha224"),
        (KeySpec::Hmac256, "sha256"),
        (KeySpec::Hmac384, "sha384"),
        (KeySpec::Hmac512, "sha512"),
    ] {
        let algorithm = spec.mac_algorithms(KeyUsage::GenerateVerifyMac)[0];
        let dir = folder(&[("message", MESSAGE)]);
        let hexkey = "07".repeat(algorithm.tag_len());
        let mac = format!("dgst -{hash} -mac HMAC -macopt hexkey:{hexkey} -binary message");
        let theirs = openssl(dir.path(), &mac).unwrap();
        assert_eq!(key(spec).mac(algorithm, MESSAGE).unwrap(), theirs, "{spec}");
    }
}

/// Weaker keys than are taken, and other forms of the same ones.
#[test]
fn keys_of_other_forms_are_refused() {
    let dir = folder(&[("rsa", &pkcs8(KeySpec::Rsa2048)), ("ec", &pkcs8(KeySpec::EccNistP256))]);
    let made = |arguments: &str| openssl(dir.path(), arguments).unwrap();
    let small_exponent = made("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_pubexp:3");
    std::fs::write(dir.path().join("e3"), small_exponent).unwrap();
    let small_exponent = made("pkcs8 -topk8 -nocrypt -in e3 -outform DER");
    let reason = malformed(Material::from_pkcs8_upload(KeySpec::Rsa2048, &small_exponent));
    assert_eq!(reason, "the modulus is odd, and the exponent odd and 65537 to 2^32");

    let not_pkcs8 = "it is not a DER PKCS#8 private key";
    let pkcs1 = made("rsa -in rsa -inform DER -traditional -outform DER");
    assert_eq!(
        malformed(Material::from_pkcs8_upload(KeySpec::Rsa2048, &pkcs1)),
        not_pkcs8
    );
    let sec1 = made("ec -in ec -inform DER -outform DER");
    assert_eq!(
        malformed(Material::from_pkcs8_upload(KeySpec::EccNistP256, &sec1)),
        not_pkcs8
    );
    let encrypted = made("pkcs8 -topk8 -in ec -inform DER -outform DER -passout pass:x");
    assert_eq!(
        malformed(Material::from_pkcs8_upload(KeySpec::EccNistP256, &encrypted)),
        not_pkcs8
    );

    let explicit = "pkcs8 -topk8 -nocrypt -in explicit.pem -outform DER";
    made("ec -in ec -inform DER -param_enc explicit -out explicit.pem");
    let reason = malformed(Material::from_pkcs8_upload(KeySpec::EccNistP256, &made(explicit)));
    assert_eq!(reason, "it is of another algorithm, size or curve");
    let pss = made("genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 -outform DER");
    assert_eq!(
        malformed(Material::from_pkcs8_upload(KeySpec::Rsa2048, &pss)),
        "it is of another algorithm, size or curve"
    );
}
