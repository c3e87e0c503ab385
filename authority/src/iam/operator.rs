//! Condition operators, by name.

use std::cmp::Ordering;

use super::known::{Key, Kind};
use crate::names::shown;

/// A condition operator with what stands before and behind its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operator {
    pub test: Test,
    /// True where nothing matches: the `Not…` operators.
    pub negated: bool,
    /// `…IfExists`: true where the key is absent.
    pub if_exists: bool,
    pub set: Option<Set>,
}

/// How several values of the request count together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set {
    /// `ForAllValues:`
    All,
    /// `ForAnyValue:`
    Any,
}

/// One value of the request against one of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Equals,
    EqualsIgnoreCase,
    Like,
    Numeric(Order),
    Date(Order),
    Bool,
    Binary,
    Ip,
    Arn,
    Null,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    pub(super) fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

/// The names, what they test and whether they are negated. `ArnEquals` and `ArnLike` are the same.
pub(super) const NAMES: &[(&str, Test, bool)] = &[
    ("StringEquals", Test::Equals, false),
    ("StringNotEquals", Test::Equals, true),
    ("StringEqualsIgnoreCase", Test::EqualsIgnoreCase, false),
    ("StringNotEqualsIgnoreCase", Test::EqualsIgnoreCase, true),
    ("StringLike", Test::Like, false),
    ("StringNotLike", Test::Like, true),
    ("NumericEquals", Test::Numeric(Order::Equal), false),
    ("NumericNotEquals", Test::Numeric(Order::Equal), true),
    ("NumericLessThan", Test::Numeric(Order::Less), false),
    ("NumericLessThanEquals", Test::Numeric(Order::LessOrEqual), false),
    ("NumericGreaterThan", Test::Numeric(Order::Greater), false),
    ("NumericGreaterThanEquals", Test::Numeric(Order::GreaterOrEqual), false),
    ("DateEquals", Test::Date(Order::Equal), false),
    ("DateNotEquals", Test::Date(Order::Equal), true),
    ("DateLessThan", Test::Date(Order::Less), false),
    ("DateLessThanEquals", Test::Date(Order::LessOrEqual), false),
    ("DateGreaterThan", Test::Date(Order::Greater), false),
    ("DateGreaterThanEquals", Test::Date(Order::GreaterOrEqual), false),
    ("Bool", Test::Bool, false),
    ("BinaryEquals", Test::Binary, false),
    ("IpAddress", Test::Ip, false),
    ("NotIpAddress", Test::Ip, true),
    ("ArnEquals", Test::Arn, false),
    ("ArnNotEquals", Test::Arn, true),
    ("ArnLike", Test::Arn, false),
    ("ArnNotLike", Test::Arn, true),
    ("Null", Test::Null, false),
];

impl Operator {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (set, rest) = if let Some(rest) = text.strip_prefix("ForAllValues:") {
            (Some(Set::All), rest)
        } else if let Some(rest) = text.strip_prefix("ForAnyValue:") {
            (Some(Set::Any), rest)
        } else {
            (None, text)
        };
        let (name, if_exists) = match rest.strip_suffix("IfExists") {
            Some(name) => (name, true),
            None => (rest, false),
        };
        let Some((_, test, negated)) = NAMES.iter().find(|(own, ..)| *own == name) else {
            let meant = NAMES.iter().find(|(own, ..)| own.eq_ignore_ascii_case(name));
            let hint = meant.map_or_else(
                || "IAM has `StringEquals`, `ArnLike`, `IpAddress` and the like".to_owned(),
                |(own, ..)| format!("it is written `{own}`"),
            );
            return Err(format!("there is no condition operator `{}`; {hint}", shown(text)));
        };
        if *test == Test::Null && (if_exists || set.is_some()) {
            return Err("`Null` stands without `IfExists`, `ForAllValues` and `ForAnyValue`".to_owned());
        }
        Ok(Self {
            test: *test,
            negated: *negated,
            if_exists,
            set,
        })
    }

    /// Refuses what could not compare, and what KMS refuses as too permissive.
    pub(super) fn suits(self, key: &Key, written: (&str, &str)) -> Result<(), String> {
        let (operator, name) = (shown(written.0), shown(written.1));
        let reads = match self.test {
            Test::Equals | Test::EqualsIgnoreCase | Test::Like | Test::Null => true,
            Test::Numeric(_) => matches!(key.kind, Kind::Text | Kind::Number | Kind::Time),
            Test::Date(_) => matches!(key.kind, Kind::Text | Kind::Time),
            Test::Bool => matches!(key.kind, Kind::Text | Kind::Flag),
            Test::Binary => key.kind == Kind::Text,
            Test::Ip => matches!(key.kind, Kind::Text | Kind::Address),
            Test::Arn => matches!(key.kind, Kind::Text | Kind::Arn),
        };
        if !reads {
            return Err(format!(
                "`{operator}` cannot compare `{name}`, which is {}",
                key.kind.what()
            ));
        }
        if self.set == Some(Set::All) && key.is_chosen_pair() {
            let what = if key.name.starts_with("kms:") {
                "encryption context"
            } else {
                "tag"
            };
            return Err(format!(
                "OverlyPermissiveCondition: Using the ForAllValues set operator with a single-valued condition key matches \
                 requests without the specified {what} or with an unspecified {what}. To fix, remove ForAllValues."
            ));
        }
        if self.set.is_none() && key.many && self.test != Test::Null {
            return Err(format!(
                "`{name}` may have several values: say `ForAllValues:{operator}` or `ForAnyValue:{operator}`"
            ));
        }
        Ok(())
    }
}
