//! `[sampling]`: which requests are kept for trying new versions of plugins, and what of them.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use signing::encoding::{base64url, from_base64url};

use super::{BundleError, Document, Plugin};
use crate::units::Span;

/// Bytes of the key that samples are sealed to: an X25519 public key (RFC 7748).
pub const SAMPLING_KEY_LEN: usize = 32;
/// Most samples that an authority keeps.
pub const MAX_SAMPLES: u32 = 100_000;
/// Most fields that are kept.
const MAX_FIELDS: usize = 128;
/// Default of [`Sampling::keep`].
const DEFAULT_KEEP: u32 = 10_000;
/// Default of [`Sampling::max_age`], and its bounds.
const DEFAULT_AGE: Duration = Duration::from_secs(7 * 86_400);
const LEAST_AGE: Duration = Duration::from_secs(3600);
const MOST_AGE: Duration = Duration::from_secs(90 * 86_400);

/// Random bits of a request's id that decide about it.
const BITS: u32 = 48;

/// Fields without a name of their own behind them.
const FIELDS: [&str; 8] = [
    "caller.id",
    "caller.issuer",
    "caller.subject",
    "token.subject",
    "token.audience",
    "artifact.digest",
    "source_address",
    "trace_id",
];
/// Fields with one.
const ATTRIBUTES: &str = "caller.attributes.";
const CLAIMS: &str = "token.claims.";

/// What is sampled, of a bundle that asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// A request is taken when its id is below this, in 2^-48 of all.
    share: u64,
    /// How many samples the authority keeps: the newest. 1 to [`MAX_SAMPLES`], default 10,000.
    pub keep: u32,
    /// How long it keeps one. 1 h to 90 d, default 7 d.
    pub max_age: Duration,
    /// Whose private half opens them: an X25519 public key.
    pub key: [u8; SAMPLING_KEY_LEN],
    /// Only requests that one of these plugins judges; empty: that any does.
    pub plugins: Vec<String>,
    /// What is kept; every other value is redacted.
    fields: BTreeSet<String>,
}

impl Sampling {
    /// Whether a request that these plugins judge is taken. `id` is the request's, random (RFC 9562 version 4).
    pub fn takes(&self, id: &[u8; 16], plugins: &[String]) -> bool {
        let [a, b, c, d, e, f, ..] = *id;
        // The first 48 bits of a version 4 UUID are random.
        u64::from_be_bytes([0, 0, a, b, c, d, e, f]) < self.share
            && !plugins.is_empty()
            && (self.plugins.is_empty() || plugins.iter().any(|plugin| self.plugins.contains(plugin)))
    }

    /// Whether the value of this field is kept: `caller.subject` and the like.
    pub fn keeps(&self, field: &str) -> bool {
        self.fields.contains(field)
    }

    /// Whether the value of this attribute of the caller is kept.
    pub fn keeps_attribute(&self, name: &str) -> bool {
        self.keeps_named(ATTRIBUTES, name)
    }

    /// Whether the value of this claim is kept.
    pub fn keeps_claim(&self, name: &str) -> bool {
        self.keeps_named(CLAIMS, name)
    }

    fn keeps_named(&self, kind: &str, name: &str) -> bool {
        let mut fields = self.fields.iter();
        fields.any(|field| field.strip_prefix(kind) == Some(name))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSampling {
    rate: f64,
    keep: Option<u32>,
    max_age: Option<Span>,
    key: String,
    #[serde(default)]
    plugins: Vec<String>,
    #[serde(default)]
    fields: Vec<String>,
}

impl RawSampling {
    /// Checks it beside the bundle's plugins.
    pub(super) fn build(self, document: &Document<'_>, known: &[Plugin]) -> Result<Sampling, BundleError> {
        let wrong = |field: &str, message: String, hint: &str| {
            Err(document.error(&format!("sampling.{field}"), message, hint.to_owned()))
        };
        let Some(share) = share(self.rate) else {
            let hint = "write the share of requests that is kept, such as 0.001; at most 1";
            return wrong("rate", "out of bounds".into(), hint);
        };
        let keep = self.keep.unwrap_or(DEFAULT_KEEP);
        if !(1..=MAX_SAMPLES).contains(&keep) {
            return wrong(
                "keep",
                "out of bounds".into(),
                "write how many samples are kept, 1 to 100000",
            );
        }
        let max_age = self.max_age.map_or(DEFAULT_AGE, |span| span.0);
        if !(LEAST_AGE..=MOST_AGE).contains(&max_age) {
            return wrong("max_age", "out of bounds".into(), "write a duration from 1h to 90d");
        }
        let Some(key) = key(&self.key) else {
            let hint = "`signet plugin sampling-key FILE` makes a key and prints what to write here";
            return wrong("key", "no key that anything can be sealed to".into(), hint);
        };
        let unknown = |name: &String| !known.iter().any(|plugin| plugin.name == *name);
        if let Some(index) = self.plugins.iter().position(unknown) {
            let name = self.plugins.get(index).map(String::as_str).unwrap_or_default();
            let message = format!("there is no plugin `{name:.64}`");
            return wrong(&format!("plugins[{index}]"), message, "name plugins of this bundle");
        }
        if self.fields.len() > MAX_FIELDS {
            let message = format!("{} fields, at most {MAX_FIELDS} are kept", self.fields.len());
            return wrong("fields", message, "list only what the rules read");
        }
        if let Some(index) = self.fields.iter().position(|field| !is_field(field)) {
            let field = self.fields.get(index).map(String::as_str).unwrap_or_default();
            let hint = format!("it has {}, {ATTRIBUTES}NAME, {CLAIMS}NAME", FIELDS.join(", "));
            return wrong(
                &format!("fields[{index}]"),
                format!("a request has no field `{field:.64}`, or it is kept always"),
                &hint,
            );
        }
        Ok(Sampling {
            share,
            keep,
            max_age,
            key,
            plugins: self.plugins,
            fields: self.fields.into_iter().collect(),
        })
    }
}

/// The share in 2^-48 of all: at least one, at most all.
fn share(rate: f64) -> Option<u64> {
    let all = 1_u64.checked_shl(BITS)?;
    // No NaN and no infinity is in it.
    (rate > 0.0 && rate <= 1.0).then(|| ((rate * all as f64) as u64).clamp(1, all))
}

/// The key, if it is one: 32 bytes, and none of the few that everybody knows the shared secret of.
fn key(text: &str) -> Option<[u8; SAMPLING_KEY_LEN]> {
    let key: [u8; SAMPLING_KEY_LEN] = from_base64url(text)?.try_into().ok()?;
    // The points of small order that somebody may write by mistake, 0 and 1. At any other, sealing fails.
    let is_small = matches!(key, [0 | 1, ref rest @ ..] if rest.iter().all(|byte| *byte == 0));
    (!is_small).then_some(key)
}

fn is_field(field: &str) -> bool {
    let named = |kind: &str, is_name: fn(&str) -> bool| field.strip_prefix(kind).is_some_and(is_name);
    FIELDS.contains(&field) || named(ATTRIBUTES, is_plain) || named(CLAIMS, is_plain)
}

/// Names of attributes and claims are the bundle's own or a caller's tokens': whatever can be one.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.len() <= 256 && !name.contains(char::is_control)
}

/// As a bundle writes a key.
pub fn key_text(key: &[u8; SAMPLING_KEY_LEN]) -> String {
    base64url(key)
}

#[cfg(test)]
mod tests {
    use super::super::Bundle;
    use super::*;

    const KEY: &str = "key = \"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc\"\n";

    fn sampling(text: &str) -> Result<Option<Sampling>, String> {
        let files = [("bundle.toml".to_owned(), format!("[sampling]\n{text}").into_bytes())];
        match Bundle::parse(&files) {
            Ok(bundle) => Ok(bundle.sampling.map(|sampling| (*sampling).clone())),
            Err(errors) => Err(errors[0].to_string()),
        }
    }

    fn id(first: [u8; 6]) -> [u8; 16] {
        let mut id = [0xff; 16];
        id[..6].copy_from_slice(&first);
        id
    }

    #[test]
    fn nothing_is_sampled_unless_a_bundle_asks_for_it() {
        let files = [("bundle.toml".to_owned(), Vec::new())];
        assert_eq!(Bundle::parse(&files).unwrap().sampling, None);
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let sampling = sampling(&format!("rate = 0.25\n{KEY}")).unwrap().unwrap();
        assert_eq!(
            (sampling.keep, sampling.max_age),
            (10_000, Duration::from_secs(604_800))
        );
        assert_eq!(key_text(&sampling.key), &KEY[7..50]);
        assert!(!sampling.keeps("caller.subject") && !sampling.keeps_claim("role"));
    }

    #[test]
    fn the_share_of_ids_that_is_taken_is_the_rate() {
        let quarter = sampling(&format!("rate = 0.25\n{KEY}")).unwrap().unwrap();
        let some = ["a".to_owned()];
        assert!(quarter.takes(&id([0x3f, 0xff, 0xff, 0xff, 0xff, 0xff]), &some));
        assert!(!quarter.takes(&id([0x40, 0, 0, 0, 0, 0]), &some));
        assert!(!quarter.takes(&id([0; 6]), &[]), "no plugin judges it");
        let all = sampling(&format!("rate = 1\n{KEY}"));
        let all = all
            .or_else(|_| sampling(&format!("rate = 1.0\n{KEY}")))
            .unwrap()
            .unwrap();
        assert!(all.takes(&id([0xff; 6]), &some));
    }

    #[test]
    fn fields_are_kept_by_their_whole_name() {
        let text =
            format!("rate = 1.0\n{KEY}fields = [\"token.claims.role\", \"caller.attributes.team\", \"trace_id\"]");
        let sampling = sampling(&text).unwrap().unwrap();
        assert!(sampling.keeps_claim("role") && sampling.keeps_attribute("team") && sampling.keeps("trace_id"));
        assert!(!sampling.keeps_claim("rol") && !sampling.keeps_claim("team") && !sampling.keeps_attribute("role"));
    }

    #[test]
    fn mistakes_are_answered_with_their_place_and_what_to_write() {
        let cases = [
            (
                format!("rate = 0.0\n{KEY}"),
                "bundle.toml:2:8: sampling.rate: out of bounds",
            ),
            (format!("rate = 1.5\n{KEY}"), "such as 0.001"),
            (format!("rate = nan\n{KEY}"), "sampling.rate: out of bounds"),
            (format!("rate = -0.5\n{KEY}"), "sampling.rate: out of bounds"),
            (format!("rate = 0.5\nkeep = 0\n{KEY}"), "1 to 100000"),
            (format!("rate = 0.5\nmax_age = \"1m\"\n{KEY}"), "from 1h to 90d"),
            ("rate = 0.5\nkey = \"short\"".into(), "signet plugin sampling-key FILE"),
            (
                format!("rate = 0.5\nkey = \"{}\"", base64url(&[0; 32])),
                "no key that anything can be sealed to",
            ),
            (format!("rate = 0.5\n{KEY}plugins = [\"x\"]"), "there is no plugin `x`"),
            (
                format!("rate = 0.5\n{KEY}fields = [\"claims.sub\"]"),
                "a request has no field `claims.sub`",
            ),
            (
                format!("rate = 0.5\n{KEY}fields = [\"token.claims.\"]"),
                "token.claims.NAME",
            ),
            (format!("rate = 0.5\n{KEY}redact = true"), "unknown field `redact`"),
            ("rate = 0.5".into(), "missing field `key`"),
        ];
        for (text, words) in cases {
            let error = sampling(&text).unwrap_err();
            assert!(error.contains(words), "{error} has no `{words}`");
        }
    }
}
