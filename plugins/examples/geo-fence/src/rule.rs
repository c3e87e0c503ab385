//! The rule itself, as a function of its settings and the region that the table has for the source address.

use signet_plugin::{Refusal, Value, Verdict, allow, refuse};

/// `[plugins.config]` of the bundle.
#[derive(Debug)]
pub struct Settings {
    /// Which regions are served.
    pub fence: Fence,
    /// Whether an address that no row holds is served. Default false.
    pub serves_unknown: bool,
}

/// Regions as the table's values write them.
#[derive(Debug, PartialEq, Eq)]
pub enum Fence {
    /// These and no others.
    Only(Vec<String>),
    /// All but these.
    AllBut(Vec<String>),
}

impl Settings {
    /// Reads them; an unusable one is an error, since a guard that guesses is none.
    pub fn read(get: impl Fn(&str) -> Option<Value>) -> Result<Settings, String> {
        let fence = match (get("allow"), get("deny")) {
            (Some(allow), None) => Fence::Only(regions(allow, "allow")?),
            (None, Some(deny)) => Fence::AllBut(regions(deny, "deny")?),
            _ => return Err("one of `allow` and `deny` must be there, and not both".into()),
        };
        let serves_unknown = match get("unknown") {
            None => false,
            Some(Value::Text(answer)) if answer == "refuse" => false,
            Some(Value::Text(answer)) if answer == "allow" => true,
            Some(_) => return Err("`unknown` must be `refuse` or `allow`".into()),
        };
        Ok(Settings { fence, serves_unknown })
    }
}

fn regions(value: Value, name: &str) -> Result<Vec<String>, String> {
    match value {
        Value::Texts(regions) if !regions.is_empty() && !regions.iter().any(String::is_empty) => Ok(regions),
        _ => Err(format!(
            "`{name}` must be a list of regions, with at least one and none empty"
        )),
    }
}

/// Whether this region is served. None: the table has no row for the address.
pub fn decide(settings: &Settings, region: Option<&str>) -> Result<Verdict, Refusal> {
    let Some(region) = region else {
        return match settings.serves_unknown {
            true => allow(),
            false => refuse("region_unknown", "it is not known where this address is"),
        };
    };
    let is_served = match &settings.fence {
        Fence::Only(regions) => regions.iter().any(|entry| entry == region),
        Fence::AllBut(regions) => !regions.iter().any(|entry| entry == region),
    };
    match is_served {
        true => allow(),
        false => refuse("region_not_allowed", "nothing is signed for this region"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Value {
        Value::Texts(texts.iter().map(|text| text.to_string()).collect())
    }

    fn settings(pairs: &[(&str, Value)]) -> Result<Settings, String> {
        let find = |name: &str| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.clone())
        };
        Settings::read(find)
    }

    fn code(pairs: &[(&str, Value)], region: Option<&str>) -> String {
        match decide(&settings(pairs).unwrap(), region) {
            Ok(_) => "allow".into(),
            Err(refusal) => refusal.code,
        }
    }

    #[test]
    fn either_these_or_all_but_these() {
        let only = [("allow", texts(&["DE", "FR"]))];
        assert_eq!(code(&only, Some("FR")), "allow");
        assert_eq!(code(&only, Some("US")), "region_not_allowed");
        assert_eq!(code(&only, Some("de")), "region_not_allowed");
        let all_but = [("deny", texts(&["US"]))];
        assert_eq!(code(&all_but, Some("FR")), "allow");
        assert_eq!(code(&all_but, Some("US")), "region_not_allowed");
    }

    #[test]
    fn the_unknown_is_refused_unless_the_settings_say_otherwise() {
        let unknown = |answer: &str| [("deny", texts(&["US"])), ("unknown", Value::Text(answer.into()))];
        assert_eq!(code(&[("deny", texts(&["US"]))], None), "region_unknown");
        assert_eq!(code(&unknown("refuse"), None), "region_unknown");
        assert_eq!(code(&unknown("allow"), None), "allow");
        assert!(settings(&unknown("ignore")).unwrap_err().contains("unknown"));
    }

    #[test]
    fn wrong_settings_are_named() {
        for pairs in [
            vec![],
            vec![("allow", texts(&["DE"])), ("deny", texts(&["US"]))],
            vec![("allow", texts(&[]))],
            vec![("deny", texts(&[""]))],
            vec![("allow", Value::Text("DE".into()))],
            vec![("allow", texts(&["DE"])), ("unknown", Value::Boolean(true))],
        ] {
            assert!(settings(&pairs).is_err(), "{pairs:?}");
        }
    }
}
