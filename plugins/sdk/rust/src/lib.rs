//! What a Signet plugin in Rust is written with: the types and imports of the world `signet:rule@1`, short ways to answer,
//! and an allocator for guests that live for one call. It needs no std: a rule may be `no_std` and bring a panic handler.
//!
//! ```
//! use signet_plugin::{Guest, Payload, Refusal, Request, Verdict, allow, refuse};
//!
//! struct ShortOnly;
//!
//! impl Guest for ShortOnly {
//!     fn evaluate(request: Request) -> Result<Verdict, Refusal> {
//!         match &request.payload {
//!             Payload::Token(token) if token.lifetime > 600 => refuse("too_long", "ten minutes at most"),
//!             _ => allow(),
//!         }
//!     }
//! }
//!
//! signet_plugin::export!(ShortOnly with_types_in signet_plugin);
//! ```
//!
//! Each import is a module: [`config`], [`log`], [`counter`], [`lookup`], [`digest`]. A component imports those it calls,
//! each in the lowest version that has it: a rule that calls none of the last three runs on hosts of 1.0.0.
//!
//! A [`BatchGuest`] judges several requests in one call. `docs/reference/plugins.md` says what holds for every plugin.

#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use alloc::{string::String, vec::Vec};

#[cfg(target_arch = "wasm32")]
mod allocator;
mod batch;
mod imports;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

#[allow(missing_docs)]
mod bindings {
    wit_bindgen::generate!({
        world: "rule",
        path: "../../wit",
        additional_derives: [Clone, PartialEq],
        pub_export_macro: true,
        default_bindings_module: "signet_plugin",
        generate_unused_types: true,
    });
}

pub use batch::BatchGuest;
#[doc(hidden)]
pub use batch::{Answers, Requests, batch_bindings};
pub use bindings::signet::rule::types::{Artifact, ArtifactForm, Caller, Payload, Protocol, Token, Value};
#[doc(hidden)]
pub use bindings::*;
pub use imports::{config, counter, digest, log, lookup};

/// Goes on, with nothing narrowed.
pub fn allow() -> Result<Verdict, Refusal> {
    Ok(Verdict {
        lifetime_cap: None,
        claims: Vec::new(),
    })
}

/// Refuses. `code` is 1 to 64 of `a`–`z`, `0`–`9` and `_`, and stable; `message` is one line of at most 512 bytes. The
/// caller sees both.
pub fn refuse<T>(code: &str, message: &str) -> Result<T, Refusal> {
    Err(Refusal {
        code: code.into(),
        message: message.into(),
    })
}

/// For a plugin whose settings are unusable: says why in the edge's log, and refuses. A guard that guesses is none.
pub fn misconfigured<T>(problem: &str) -> Result<T, Refusal> {
    log::log(log::Level::Error, problem);
    refuse("rule_misconfigured", "the rule's settings are wrong; tell the operator")
}

impl Caller {
    /// A verified attribute.
    pub fn attribute(&self, name: &str) -> Option<&Value> {
        find(&self.attributes, name)
    }
}

impl Token {
    /// A claim that is about to be signed. Registered claims are none of these.
    pub fn claim(&self, name: &str) -> Option<&Value> {
        find(&self.claims, name)
    }
}

fn find<'a>(pairs: &'a [(String, Value)], name: &str) -> Option<&'a Value> {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

impl Value {
    /// Whether this is the text, or a list that has it.
    pub fn has_text(&self, wanted: &str) -> bool {
        match self {
            Value::Text(text) => text == wanted,
            Value::Texts(texts) => texts.iter().any(|text| text == wanted),
            Value::Int(_) | Value::Float(_) | Value::Boolean(_) | Value::Json(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_and_claims_are_found_by_their_whole_name() {
        let request = testing::token(&[("role", Value::Int(1))], &[("roles", Value::Texts(vec!["a".into()]))]);
        assert_eq!(request.caller.attribute("roles"), Some(&Value::Texts(vec!["a".into()])));
        assert_eq!(request.caller.attribute("role"), None);
        let Payload::Token(token) = request.payload else {
            panic!()
        };
        assert_eq!(token.claim("role"), Some(&Value::Int(1)));
        assert_eq!(token.claim("roles"), None);
    }

    #[test]
    fn a_text_is_had_whole_and_only_as_text() {
        assert!(Value::Text("admin".into()).has_text("admin"));
        assert!(Value::Texts(vec!["a".into(), "admin".into()]).has_text("admin"));
        for value in [
            Value::Text("administrator".into()),
            Value::Texts(vec![]),
            Value::Json("\"admin\"".into()),
        ] {
            assert!(!value.has_text("admin"));
        }
    }
}
