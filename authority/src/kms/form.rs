//! `application/x-www-form-urlencoded`, as the query protocol sends its parameters.

use super::refusal::Refusal;

/// Parameters of one request.
const MAX_PARAMETERS: usize = 64;

/// A request's parameters: each name once.
#[derive(Debug)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads a body. Two parameters of one name would be one to us and another to whoever looks on: refused.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let malformed = || Refusal::new("MalformedInput", "The request body is not a form.");
        let text = std::str::from_utf8(body).map_err(|_| malformed())?;
        let mut parameters: Vec<(String, String)> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name).ok_or_else(malformed)?;
            let value = decode(value).ok_or_else(malformed)?;
            if parameters.len() >= MAX_PARAMETERS || parameters.iter().any(|(known, _)| *known == name) {
                return Err(malformed());
            }
            parameters.push((name, value));
        }
        Ok(Self(parameters))
    }

    /// The value of a parameter; an empty one is none.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, value)| known == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// Whether a parameter's name begins so.
    pub(super) fn has_prefix(&self, prefix: &str) -> bool {
        self.0.iter().any(|(name, _)| name.starts_with(prefix))
    }
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                u8::try_from((high << 4) | low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_unique() {
        let form = Form::parse(b"Action=A&Name=a+b%2Fc%C3%A9&Empty=&Bare&").unwrap();
        assert_eq!(form.get("Name"), Some("a b/cé"));
        assert_eq!(
            (form.get("Empty"), form.get("Bare"), form.get("None")),
            (None, None, None)
        );
        assert!(form.has_prefix("Na") && !form.has_prefix("Policy"));
        for bad in [
            &b"A=1&A=2"[..],
            b"A=%",
            b"A=%4",
            b"A=%zz",
            b"A=%ff",
            b"\xff",
            b"A=1&%41=2",
        ] {
            assert!(Form::parse(bad).is_err(), "{bad:?}");
        }
        let many: Vec<String> = (0..65).map(|n| format!("p{n}=1")).collect();
        assert!(Form::parse(many.join("&").as_bytes()).is_err());
    }
}
