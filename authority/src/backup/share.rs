//! The shares of a backup key: Shamir's scheme over GF(256), k of n, each a line of text that names itself.
//!
//! The scheme alone authenticates nothing: a wrong share gives a wrong secret without a word. So a share carries a checksum
//! against mistyping, and the key's public record a commitment to each share, which says of a forged one that it is one. A
//! commitment is a SHA-256 of 256 random bits and more, and tells nothing of them.

use std::fmt;
use std::str::FromStr;

use blahaj::Sharks;
use signing::digest::sha256;
use signing::encoding::{from_hex, hex};
use signing::key::Secret;
use zeroize::Zeroizing;

use crate::fault::Fault;
use crate::names::shown;

/// How the text of a share begins: what it is, and the version of its form.
const PREFIX: &str = "signet-share-1";
const COMMITMENT: &[u8] = b"signet backup share v1\0";
/// Hexadecimal digits of a checksum.
const CHECK_LEN: usize = 8;
/// Bytes in a value: the secret's.
const VALUE_LEN: usize = 32;
/// Most characters of a share's text.
const MAX_TEXT: usize = 256;

/// One share: with `threshold` different ones of the same key the key is there again, with fewer nothing is.
///
/// Its text is `signet-share-1:KEY:THRESHOLD:SHARES:INDEX:VALUE:CHECK`, VALUE and CHECK in lowercase hexadecimal digits; CHECK
/// is the beginning of the SHA-256 of what is before it.
pub struct Share {
    /// The backup key's id.
    pub key: String,
    /// How many are needed.
    pub threshold: u8,
    /// How many were made.
    pub shares: u8,
    /// Which one it is, from 1.
    pub index: u8,
    value: Secret,
}

impl Share {
    /// The line of text to print or to write down. Secret.
    pub fn to_text(&self) -> Zeroizing<String> {
        let value = Zeroizing::new(hex(self.value.expose()));
        let Self {
            key,
            threshold,
            shares,
            index,
            ..
        } = self;
        let body = Zeroizing::new(format!(
            "{PREFIX}:{key}:{threshold}:{shares}:{index}:{}",
            value.as_str()
        ));
        Zeroizing::new(format!("{}:{}", body.as_str(), check(&body)))
    }

    /// What the key's public record holds of it, in hexadecimal digits.
    pub(super) fn commitment(&self) -> String {
        let bytes = [COMMITMENT, &[self.index], self.value.expose()].concat();
        hex(&sha256(&Zeroizing::new(bytes)))
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "share {} of the backup key `{}`: [redacted]", self.index, self.key)
    }
}

impl FromStr for Share {
    type Err = Fault;

    /// What is wrong is said without repeating the text, which is secret.
    fn from_str(text: &str) -> Result<Self, Fault> {
        let text = text.trim();
        let refuse = |why: &str| Fault::invalid("bad_share", format!("this is not a share of a backup key: {why}"));
        if text.len() > MAX_TEXT || !text.starts_with(PREFIX) {
            return Err(refuse(&format!("a share is one line that begins with `{PREFIX}:`")));
        }
        let (body, sum) = text.rsplit_once(':').ok_or_else(|| refuse("it is cut off"))?;
        if check(body) != sum {
            return Err(refuse(
                "its checksum does not match; compare it with the original, character by character",
            ));
        }
        let parts: Vec<&str> = body.split(':').collect();
        let &[_, key, threshold, shares, index, value] = parts.as_slice() else {
            return Err(refuse("it has not the seven parts of one"));
        };
        let number = |text: &str| text.parse().map_err(|_| refuse("a number in it does not read"));
        let value = from_hex(value).map(Secret::new);
        let share = Self {
            key: key.to_owned(),
            threshold: number(threshold)?,
            shares: number(shares)?,
            index: number(index)?,
            value: value
                .filter(|value| value.len() == VALUE_LEN)
                .ok_or_else(|| refuse("its value is no 32 bytes"))?,
        };
        // A share at 0 would be the secret itself.
        if share.index == 0 || share.index > share.shares || share.threshold > share.shares {
            return Err(refuse("its numbers do not fit together"));
        }
        Ok(share)
    }
}

/// Splits a secret of 32 bytes; `threshold` and `shares` were checked.
pub(super) fn split(secret: &Secret, key: &str, threshold: u8, shares: u8) -> Vec<Share> {
    let dealt = Sharks(threshold).dealer(secret.expose()).take(usize::from(shares));
    (1..=shares)
        .zip(dealt)
        .map(|(index, dealt)| {
            let bytes = Zeroizing::new(Vec::from(&dealt));
            // The first byte is the index, which the dealer counts from 1 as well.
            let value = bytes.get(1..).unwrap_or_default();
            Share {
                key: key.to_owned(),
                threshold,
                shares,
                index,
                value: Secret::new(value.to_vec()),
            }
        })
        .collect()
}

/// The secret, from `threshold` different shares of the key `key` whose commitments are `commitments`, in order of the indices.
/// Whatever else is given is named.
pub(super) fn combine(key: &str, threshold: u8, commitments: &[String], shares: &[Share]) -> Result<Secret, Fault> {
    let refuse = |message: String| Err(Fault::invalid("bad_share", message));
    let mut points: Vec<blahaj::Share> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for share in shares {
        if share.key != key {
            return refuse(format!(
                "share {} is of the backup key `{}`; shares of `{key}` are needed",
                share.index,
                shown(&share.key)
            ));
        }
        let made = commitments.get(usize::from(share.index).saturating_sub(1));
        if made != Some(&share.commitment()) {
            return refuse(format!(
                "share {} is not the one that was made for the backup key `{key}`",
                share.index
            ));
        }
        if !seen.insert(share.index) {
            return refuse(format!("share {} was given twice; it counts once", share.index));
        }
        let bytes = Zeroizing::new([&[share.index], share.value.expose()].concat());
        let point = blahaj::Share::try_from(bytes.as_slice());
        points.push(point.map_err(|why| Fault::internal(format!("a share: {why}")))?);
    }
    if points.len() < usize::from(threshold) {
        return refuse(format!(
            "{threshold} different shares of the backup key `{key}` are needed, and {} given",
            match points.len() {
                0 => "none was".to_owned(),
                1 => "one was".to_owned(),
                given => format!("{given} were"),
            }
        ));
    }
    let scheme = Sharks(threshold);
    let secret = scheme.recover(&points);
    let secret = secret.map_err(|why| Fault::internal(format!("shares: {why}")))?;
    Ok(Secret::new(secret))
}

fn check(body: &str) -> String {
    let mut digits = hex(&sha256(body.as_bytes()));
    digits.truncate(CHECK_LEN);
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(threshold: u8, shares: u8) -> (Secret, Vec<String>, Vec<Share>) {
        let secret = Secret::random(32).unwrap();
        let made = split(&secret, "0123456789abcdef", threshold, shares);
        (secret, made.iter().map(Share::commitment).collect(), made)
    }

    fn again(share: &Share) -> Share {
        share.to_text().parse().unwrap()
    }

    #[test]
    fn any_threshold_of_them_gives_the_secret_and_fewer_give_nothing() {
        let (secret, commitments, shares) = made(3, 5);
        for set in 0_u32..32 {
            let chosen = (0..5).filter(|bit| set & (1 << bit) != 0);
            let chosen: Vec<_> = chosen.map(|at| again(&shares[at as usize])).collect();
            let combined = combine("0123456789abcdef", 3, &commitments, &chosen);
            match chosen.len() {
                3.. => assert!(secret.matches(combined.unwrap().expose()), "{set:b}"),
                few => {
                    let fault = combined.unwrap_err().to_string();
                    assert!(fault.starts_with("3 different shares"), "{few}: {fault}");
                }
            }
        }
        // Two values of a polynomial of degree 2, taken for all there is, are not the secret.
        let points = shares[..2].iter().map(|share| {
            let bytes = [&[share.index], share.value.expose()].concat();
            blahaj::Share::try_from(bytes.as_slice()).unwrap()
        });
        let wrong = Sharks(2).recover(&points.collect::<Vec<_>>()).unwrap();
        assert!(!secret.matches(&wrong));
    }

    #[test]
    fn a_share_that_is_doubled_foreign_or_forged_is_named() {
        let (_, commitments, shares) = made(2, 3);
        let refused = |given: &[Share]| {
            let refused = combine("0123456789abcdef", 2, &commitments, given);
            refused.unwrap_err().to_string()
        };
        let twice = refused(&[again(&shares[0]), again(&shares[0])]);
        assert_eq!(twice, "share 1 was given twice; it counts once");
        let (_, _, others) = made(2, 3);
        let forged = refused(&[again(&shares[0]), again(&others[1])]);
        assert!(forged.starts_with("share 2 is not the one that was made"), "{forged}");
        let mut foreign = again(&shares[1]);
        foreign.key = "fedcba9876543210".to_owned();
        let foreign = refused(&[foreign]);
        assert!(
            foreign.contains("`fedcba9876543210`; shares of `0123456789abcdef`"),
            "{foreign}"
        );
    }

    // R10
    #[test]
    fn a_mistyped_share_is_refused_and_not_repeated() {
        let (_, _, shares) = made(2, 3);
        let text = shares[0].to_text();
        let value = hex(shares[0].value.expose());
        assert!(!format!("{:?}", shares[0]).contains(&value));
        for at in 0..text.len() {
            let mut typed = text.as_bytes().to_vec();
            typed[at] = if typed[at] == b'0' { b'1' } else { b'0' };
            let typed = String::from_utf8(typed).unwrap();
            let fault = typed.parse::<Share>().map(drop).unwrap_err().to_string();
            assert!(
                fault.starts_with("this is not a share") && !fault.contains(&value[..8]),
                "{fault}"
            );
            assert!(text[..at].parse::<Share>().is_err(), "cut to {at}");
        }
        let zero = text.replace(":2:3:1:", ":2:3:0:");
        let body = zero.rsplit_once(':').unwrap().0;
        let zero = format!("{body}:{}", check(body));
        assert!(zero.parse::<Share>().is_err(), "a share at 0 is the secret itself");
    }
}
