use serde_json::Value;

use super::{list, read, text};
use crate::algorithm::Algorithm;
use crate::encoding::from_base64url;
use crate::format::jwt::check_jws;
use crate::jwk::Jwk;
use crate::key::{KeyError, PublicKey, Secret, Verifier};

fn verifier(key: &Value) -> Result<Verifier, KeyError> {
    if key["kty"] == "oct" {
        let secret = Secret::new(from_base64url(text(key, "k")).unwrap());
        return Verifier::hmac("k", &secret);
    }
    let jwk: Jwk = serde_json::from_value(key.clone()).unwrap();
    PublicKey::from_jwk(&jwk).map(Verifier::from)
}

/// Vectors called valid that are refused here, and with which code. 346 and 350, RFC 7520's figure 20, go with a key
/// whose `alg` the file gives as PS256 while the header says PS384: the key's algorithm counts (R1). 372 and 373 have
/// a `?` in the middle of the base64url, which RFC 7515 section 2 does not allow.
const STRICTER: [(u32, &str); 4] = [
    (346, "bad_algorithm"),
    (350, "bad_algorithm"),
    (372, "malformed_token"),
    (373, "malformed_token"),
];

// R1, R4
#[test]
fn json_web_signatures() {
    let [mut valid, mut invalid, mut stricter, mut key_refused, mut contradicted] = [0; 5];
    for group in list(&read("wycheproof/json_web_signature_test.json"), "testGroups") {
        let key = group.get("public").unwrap_or(&group["private"]);
        let known = key["alg"].as_str().is_none_or(|name| name.parse::<Algorithm>().is_ok());
        let verifier = verifier(key);
        for test in list(group, "tests") {
            let Ok(verifier) = &verifier else {
                // Keys for other algorithms, and keys whose `use`, `key_ops` or size forbids it.
                assert!(!known || test["result"] == "invalid", "{group}");
                key_refused += 1;
                continue;
            };
            let accepted = check_jws(text(test, "jws"), verifier);
            match (test["result"].as_str().unwrap(), accepted) {
                ("valid", Ok(())) => valid += 1,
                ("invalid", Err(_)) => invalid += 1,
                ("valid", Err(error)) => {
                    let known = STRICTER.iter().find(|(id, ..)| test["tcId"] == *id);
                    assert_eq!(known.map(|(_, code)| *code), Some(error.code()), "{test}: {error}");
                    stricter += 1;
                }
                // Vectors 367 and 370 are said to have bad padding, but are byte for byte vector 357, which is valid.
                ("invalid", Ok(())) => {
                    let same = |other: &&Value| other["jws"] == test["jws"] && other["result"] == "valid";
                    let twin = list(group, "tests")
                        .iter()
                        .find(same)
                        .unwrap_or_else(|| panic!("accepted {test}"));
                    assert_eq!(twin["tcId"], 357);
                    contradicted += 1;
                }
                (verdict, outcome) => panic!("{verdict} but {outcome:?}: {test}"),
            }
        }
    }
    assert_eq!(
        (valid, invalid, stricter, key_refused, contradicted),
        (24, 332, 4, 39, 2)
    );
}
