//! What is counted of one key's use. Pure, and of bounded size whatever happens.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Days of which decryptions are counted one by one, today (UTC) among them.
pub(crate) const DAYS: u64 = 90;
/// Principals known of one key: of more, those that used it last.
pub(crate) const MAX_PRINCIPALS: usize = 64;
const SECONDS_PER_DAY: u64 = 86_400;
/// The operation that opens a ciphertext to put it under another version.
const RE_ENCRYPT: &str = "ReEncrypt";

/// The day of a moment (Unix seconds), counted from 1970-01-01.
pub(crate) fn day(at: u64) -> u64 {
    at / SECONDS_PER_DAY
}

/// Successful cryptographic operations with one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// The last one, by KMS's name.
    pub(crate) operation: String,
    /// Its time, Unix seconds.
    pub(crate) at: u64,
    /// Ciphertexts that were opened, by the number of the version that they were under.
    #[serde(default)]
    pub(crate) versions: BTreeMap<u32, VersionUse>,
    /// Who used it, by ARN.
    #[serde(default)]
    pub(crate) principals: BTreeMap<String, PrincipalUse>,
    /// All others together.
    #[serde(default)]
    pub(crate) others: Others,
}

/// Ciphertexts of one version that were opened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VersionUse {
    /// The last one, Unix seconds.
    pub(crate) last_at: u64,
    /// How many on each of the last [`DAYS`].
    pub(crate) days: BTreeMap<u64, Opened>,
}

/// What ciphertexts were opened for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Opened {
    /// To be read: there is a caller whose data is under this version.
    pub(crate) decrypted: u64,
    /// To be re-encrypted: they left this version.
    pub(crate) moved: u64,
}

/// What one principal did with the key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PrincipalUse {
    /// The first and the last time known, Unix seconds.
    pub(crate) first_at: u64,
    pub(crate) last_at: u64,
    /// How often, by KMS's names.
    pub(crate) operations: BTreeMap<String, u64>,
}

/// What principals did who are no longer known one by one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Others {
    /// Unix seconds; 0: there are none.
    pub(crate) last_at: u64,
    pub(crate) uses: u64,
}

/// One use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Use<'a> {
    pub(crate) operation: &'a str,
    /// None: not told apart.
    pub(crate) principal: Option<&'a str>,
    /// The version that a ciphertext was under, where one was opened.
    pub(crate) opened: Option<u32>,
    /// Unix seconds.
    pub(crate) at: u64,
}

impl Tally {
    /// Counts one use.
    pub(crate) fn count(&mut self, used: &Use<'_>) {
        if self.operation != used.operation {
            used.operation.clone_into(&mut self.operation);
        }
        self.at = used.at;
        if let Some(version) = used.opened {
            let of = self.versions.entry(version).or_default();
            of.last_at = of.last_at.max(used.at);
            let opened = of.days.entry(day(used.at)).or_default();
            match used.operation {
                RE_ENCRYPT => raise(&mut opened.moved, 1),
                _ => raise(&mut opened.decrypted, 1),
            }
        }
        let Some(arn) = used.principal else {
            self.others.last_at = self.others.last_at.max(used.at);
            return raise(&mut self.others.uses, 1);
        };
        if let Some(principal) = self.principals.get_mut(arn) {
            return principal.count(used);
        }
        let mut principal = PrincipalUse::default();
        principal.count(used);
        self.principals.insert(arn.to_owned(), principal);
        self.bound();
    }

    /// Adds what was counted after it, and forgets the days that are over at `now` (Unix seconds).
    pub(crate) fn add(&mut self, newer: &Tally, now: u64) {
        if newer.at >= self.at {
            self.operation.clone_from(&newer.operation);
            self.at = newer.at;
        }
        for (version, more) in &newer.versions {
            let of = self.versions.entry(*version).or_default();
            of.last_at = of.last_at.max(more.last_at);
            for (day, opened) in &more.days {
                of.days.entry(*day).or_default().add(*opened);
            }
        }
        for (arn, more) in &newer.principals {
            self.principals.entry(arn.clone()).or_default().add(more);
        }
        self.others.last_at = self.others.last_at.max(newer.others.last_at);
        raise(&mut self.others.uses, newer.others.uses);
        self.bound();
        let oldest = first_day(now, DAYS);
        for of in self.versions.values_mut() {
            of.days.retain(|day, _| *day >= oldest);
        }
    }

    /// What was opened of a version in the last `days`, today among them, at `now` (Unix seconds).
    pub(crate) fn opened(&self, version: u32, days: u64, now: u64) -> Opened {
        let counts = self.versions.get(&version).map(|of| &of.days);
        let counts = counts
            .into_iter()
            .flat_map(|days_of| days_of.range(first_day(now, days)..));
        counts.fold(Opened::default(), |mut sum, (_, opened)| {
            sum.add(*opened);
            sum
        })
    }

    /// Keeps the principals that used the key last.
    fn bound(&mut self) {
        while self.principals.len() > MAX_PRINCIPALS {
            let oldest = self.principals.iter().min_by_key(|(_, used)| used.last_at);
            let Some((arn, used)) = oldest.map(|(arn, used)| (arn.clone(), used.clone())) else {
                return;
            };
            self.principals.remove(&arn);
            self.others.last_at = self.others.last_at.max(used.last_at);
            raise(&mut self.others.uses, used.uses());
        }
    }
}

impl Opened {
    fn add(&mut self, more: Opened) {
        raise(&mut self.decrypted, more.decrypted);
        raise(&mut self.moved, more.moved);
    }
}

impl PrincipalUse {
    /// All uses.
    pub(crate) fn uses(&self) -> u64 {
        self.operations
            .values()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    fn count(&mut self, used: &Use<'_>) {
        if self.operations.is_empty() {
            self.first_at = used.at;
        }
        self.last_at = self.last_at.max(used.at);
        match self.operations.get_mut(used.operation) {
            Some(count) => raise(count, 1),
            None => drop(self.operations.insert(used.operation.to_owned(), 1)),
        }
    }

    fn add(&mut self, newer: &PrincipalUse) {
        if self.operations.is_empty() {
            self.first_at = newer.first_at;
        }
        self.last_at = self.last_at.max(newer.last_at);
        for (operation, count) in &newer.operations {
            raise(self.operations.entry(operation.clone()).or_default(), *count);
        }
    }
}

fn raise(count: &mut u64, by: u64) {
    *count = count.saturating_add(by);
}

/// The first of the last `days` days, of which today is the last.
pub(crate) fn first_day(now: u64, days: u64) -> u64 {
    day(now).saturating_add(1).saturating_sub(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 1000 * SECONDS_PER_DAY + SECONDS_PER_DAY / 2;

    fn used<'a>(principal: &'a str, opened: Option<u32>, at: u64) -> Use<'a> {
        let operation = if opened.is_some() { "Decrypt" } else { "Encrypt" };
        Use {
            operation,
            principal: Some(principal),
            opened,
            at,
        }
    }

    #[test]
    fn what_was_counted_apart_adds_up() {
        let uses = [
            used("a", Some(1), NOON),
            used("b", None, NOON + 5),
            used("a", Some(2), NOON + SECONDS_PER_DAY),
            used("a", Some(1), NOON + SECONDS_PER_DAY + 1),
        ];
        let mut whole = Tally::default();
        uses.iter().for_each(|one| whole.count(one));
        for cut in 0..=uses.len() {
            let (mut first, mut second) = (Tally::default(), Tally::default());
            uses[..cut].iter().for_each(|one| first.count(one));
            uses[cut..].iter().for_each(|one| second.count(one));
            first.add(&second, NOON + SECONDS_PER_DAY);
            assert_eq!(first, whole, "{cut}");
        }
        assert_eq!(
            (whole.operation.as_str(), whole.at),
            ("Decrypt", NOON + SECONDS_PER_DAY + 1)
        );
        assert_eq!(whole.principals["a"].operations["Decrypt"], 3);
        let now = NOON + SECONDS_PER_DAY;
        let counts =
            [(1, 1), (1, 2), (2, 1), (2, 2), (3, 90)].map(|(version, days)| whole.opened(version, days, now).decrypted);
        assert_eq!(counts, [1, 2, 1, 1, 0]);
    }

    #[test]
    fn days_are_kept_as_long_as_they_are_reported() {
        let mut tally = Tally::default();
        tally.count(&used("a", Some(1), NOON));
        let last = NOON + (DAYS - 1) * SECONDS_PER_DAY;
        tally.add(&Tally::default(), last);
        assert_eq!(tally.opened(1, DAYS, last).decrypted, 1);
        tally.add(&Tally::default(), last + SECONDS_PER_DAY);
        assert_eq!(tally.opened(1, DAYS, last + SECONDS_PER_DAY).decrypted, 0);
        assert!(tally.versions[&1].days.is_empty());
        assert_eq!((tally.versions[&1].last_at, tally.at), (NOON, NOON));
    }

    #[test]
    fn of_many_principals_the_last_are_known_and_all_are_counted() {
        let mut tally = Tally::default();
        for at in 0..200 {
            tally.count(&used(&format!("arn:{at:03}"), None, NOON + at));
        }
        let mut more = Tally::default();
        for at in 200..230 {
            more.count(&used(&format!("arn:{at:03}"), None, NOON + at));
        }
        tally.add(&more, NOON);
        assert_eq!(tally.principals.len(), MAX_PRINCIPALS);
        let first = 230 - MAX_PRINCIPALS;
        assert_eq!(tally.principals.keys().next().unwrap(), &format!("arn:{first:03}"));
        let last_at = NOON + u64::try_from(first).unwrap() - 1;
        let uses = u64::try_from(first).unwrap();
        assert_eq!(tally.others, Others { last_at, uses });
        let row = serde_json::to_vec(&tally).unwrap();
        assert_eq!(serde_json::from_slice::<Tally>(&row).unwrap(), tally);
    }
}
