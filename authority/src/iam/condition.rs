//! One operator on one key, and whether a request satisfies it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Effect;
use super::context::{Facts, Value, flag};
use super::json::Json;
use super::known::Key;
use super::operator::{Operator, Order, Set, Test};
use super::template::{ArnPattern, Template, Version, Wildcards};
use super::value::{self, Network};
use crate::names::shown;

/// `"OPERATOR": {"KEY": [WANTED, …]}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    operator: Operator,
    key: Key,
    /// Never empty; any of them will do.
    wanted: Vec<Wanted>,
}

/// A value of the policy, read as its operator reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    Text(Template),
    Folded(Template),
    Like(Template),
    Arn(ArnPattern),
    Number(Order, i128),
    Instant(Order, i128),
    Flag(bool),
    Bytes(Vec<u8>),
    Network(Network),
}

/// All conditions of a statement, which a request has to satisfy together.
pub(super) fn parse(block: Json, version: Version) -> Result<Vec<Condition>, String> {
    let mut conditions = Vec::new();
    let operators = block.members("`Condition`")?;
    if operators.is_empty() {
        return Err("`Condition` is empty; leave it out where there is none".to_owned());
    }
    for (operator, keys) in operators.into_pairs() {
        let parsed = Operator::parse(&operator)?;
        let keys = keys.members(&format!("`{}`", shown(&operator)))?;
        if keys.is_empty() {
            return Err(format!(
                "`{}` is empty; leave it out where there is none",
                shown(&operator)
            ));
        }
        for (name, values) in keys.into_pairs() {
            let key = Key::parse(&name)?;
            parsed.suits(&key, (&operator, &name))?;
            let wanted = texts(values, &name)?
                .iter()
                .map(|text| Wanted::parse(parsed.test, text, version))
                .collect::<Result<_, _>>()
                .map_err(|why| format!("`{}` of `{}`: {why}", shown(&operator), shown(&name)))?;
            conditions.push(Condition {
                operator: parsed,
                key,
                wanted,
            });
        }
    }
    Ok(conditions)
}

/// The values as text: AWS takes numbers and booleans for it.
fn texts(values: Json, name: &str) -> Result<Vec<String>, String> {
    let items = match values {
        Json::List(items) if items.is_empty() => {
            return Err(format!("`{}` has no value to compare with", shown(name)));
        }
        Json::List(items) => items,
        one => vec![one],
    };
    let text = |item| match item {
        Json::Text(text) | Json::Number(text) => Ok(text),
        Json::Bool(flag) => Ok(flag.to_string()),
        other => Err(format!(
            "a value of `{}` is a string, a number or a boolean, not {}",
            shown(name),
            other.what()
        )),
    };
    items.into_iter().map(text).collect()
}

impl Wanted {
    fn parse(test: Test, text: &str, version: Version) -> Result<Self, String> {
        let literal = |text| Template::parse(text, version, Wildcards::Text);
        let no = |what: &str| format!("`{}` is {what}", shown(text));
        Ok(match test {
            Test::Equals => Self::Text(literal(text)?),
            Test::EqualsIgnoreCase => Self::Folded(literal(text)?),
            Test::Like => Self::Like(Template::parse(text, version, Wildcards::Meant)?),
            Test::Arn => Self::Arn(ArnPattern::parse(text, version)?),
            Test::Numeric(order) => Self::Number(
                order,
                value::decimal(text).ok_or_else(|| no("no decimal number of up to 18 digits and 9 places"))?,
            ),
            Test::Date(order) => Self::Instant(
                order,
                value::instant(text)
                    .ok_or_else(|| no("no time: it is as 2030-01-31T12:00:00Z, or seconds since 1970"))?,
            ),
            Test::Bool | Test::Null => Self::Flag(flag(text).ok_or_else(|| no("neither true nor false"))?),
            Test::Binary => Self::Bytes(STANDARD.decode(text).map_err(|_| no("not base64"))?),
            Test::Ip => Self::Network(Network::parse(text).ok_or_else(|| no("no IP address and no CIDR block"))?),
        })
    }

    /// A variable without a value, and a value of another type, match nothing.
    fn matches(&self, value: &Value, facts: &Facts<'_>) -> bool {
        match self {
            Self::Text(own) => own.is(&value.text(), facts).unwrap_or(false),
            Self::Folded(own) => own.is_folded(&value.text(), facts).unwrap_or(false),
            Self::Like(own) => own.fits(&value.text(), facts).unwrap_or(false),
            Self::Arn(own) => own.fits(&value.text(), facts).unwrap_or(false),
            Self::Number(order, own) => value.decimal().is_some_and(|value| order.holds(value.cmp(own))),
            Self::Instant(order, own) => value.instant().is_some_and(|value| order.holds(value.cmp(own))),
            Self::Flag(own) => value.flag() == Some(*own),
            Self::Bytes(own) => own.as_slice() == value.text().as_bytes(),
            Self::Network(own) => value.address().is_some_and(|address| own.contains(address)),
        }
    }
}

impl Condition {
    /// Where AWS leaves the outcome open, an `Allow` does not hold and a `Deny` does.
    pub(super) fn holds(&self, effect: Effect, facts: &Facts<'_>) -> bool {
        let values = facts.get(&self.key.name);
        let blank = values.iter().all(|value| value.text().is_empty());
        if self.operator.test == Test::Null {
            let null = values.is_empty() || (self.key.many && blank);
            return self.wanted.contains(&Wanted::Flag(null));
        }
        let mut satisfied = values.iter().map(|value| self.satisfied(value, facts));
        match self.operator.set {
            Some(Set::All) => blank || satisfied.all(|yes| yes),
            Some(Set::Any) if blank => self.operator.if_exists && effect == Effect::Deny,
            Some(Set::Any) => satisfied.any(|yes| yes),
            None if values.is_empty() => self.operator.if_exists || self.operator.negated,
            None if effect == Effect::Allow => satisfied.all(|yes| yes),
            None => satisfied.any(|yes| yes),
        }
    }

    /// One value of the request: any of the policy's values will do, or none of them where the operator is negated.
    fn satisfied(&self, value: &Value, facts: &Facts<'_>) -> bool {
        self.operator.negated != self.wanted.iter().any(|wanted| wanted.matches(value, facts))
    }
}
