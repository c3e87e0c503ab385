//! The published vectors in `signing/vectors/`, run file by file.

mod cross;
mod rfc;
mod wycheproof;

use serde_json::Value;

use crate::encoding::from_hex;

fn read(name: &str) -> Value {
    let path = format!("{}/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))).unwrap()
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member]
        .as_str()
        .unwrap_or_else(|| panic!("no text `{member}` in {value}"))
}

fn bytes(value: &Value, member: &str) -> Vec<u8> {
    from_hex(text(value, member)).unwrap()
}

fn list<'a>(value: &'a Value, member: &str) -> &'a Vec<Value> {
    value[member].as_array().unwrap()
}
