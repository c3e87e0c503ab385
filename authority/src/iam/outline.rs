//! A document as a reviewer reads it: who is named for what. Says nothing about what is decided: see [`Document::decide`].

use super::principal::{Named, Who};
use super::statement::Listed;
use super::{Document, Effect};

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// Its `Sid`, or `#` and its place from 1.
    pub name: String,
    /// Whether it allows; else it denies.
    pub allows: bool,
    /// Whom it is about: ARNs, `*` for everyone.
    pub principals: Vec<String>,
    /// It is about everyone but these.
    pub all_but: bool,
    /// Which of the operations that were asked about.
    pub operations: Vec<String>,
    /// It has conditions, or says to which resources it applies.
    pub conditional: bool,
}

impl Document {
    /// The statements about any of `operations` (KMS's names, as `Decrypt`), in their order.
    pub fn outline(&self, operations: &[&str]) -> Vec<Outline> {
        let statements = self.statements.iter().map(|statement| {
            let about = |operation: &str| {
                let action = format!("kms:{}", operation.to_ascii_lowercase());
                match &statement.actions {
                    Listed::In(own) => own.iter().any(|own| own.fits(&action)),
                    Listed::NotIn(own) => !own.iter().any(|own| own.fits(&action)),
                }
            };
            let everywhere = matches!(&statement.resources, Listed::In(own) if own.iter().any(|own| own.is_any()));
            let (named, all_but) = match &statement.who {
                Who::These(named) => (named, false),
                Who::AllBut(named) => (named, true),
            };
            Outline {
                name: statement.name.clone(),
                allows: statement.effect == Effect::Allow,
                principals: named.iter().map(shown).collect(),
                all_but,
                operations: operations
                    .iter()
                    .filter(|operation| about(operation))
                    .map(|operation| (*operation).to_owned())
                    .collect(),
                conditional: !statement.conditions.is_empty() || !everywhere,
            }
        });
        statements.filter(|outline| !outline.operations.is_empty()).collect()
    }
}

fn shown(named: &Named) -> String {
    match named {
        Named::Everyone => "*".to_owned(),
        Named::Account(account) => format!("arn:aws:iam::{account}:root"),
        Named::Arn(text) | Named::Federated(text) => text.clone(),
        Named::Service => "(a service of AWS)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_outlined_as_they_are_written() {
        let document = Document::parse(
            r#"{"Version": "2012-10-17", "Statement": [
                {"Sid": "all", "Effect": "Allow", "Principal": {"AWS": "111122223333"}, "Action": "kms:*", "Resource": "*"},
                {"Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam::111122223333:user/a", "arn:aws:iam::444455556666:role/b"]},
                 "Action": ["kms:DECRYPT", "kms:Generate*"], "Resource": "*",
                 "Condition": {"Bool": {"aws:SecureTransport": "true"}}},
                {"Effect": "Deny", "NotPrincipal": {"AWS": "111122223333"}, "NotAction": "kms:Encrypt",
                 "Resource": "arn:aws:kms:*:*:key/*"},
                {"Effect": "Allow", "Principal": "*", "Action": "kms:List*", "Resource": "*"}]}"#,
        )
        .unwrap();
        let outline = document.outline(&["Encrypt", "Decrypt"]);
        let short: Vec<_> = outline
            .iter()
            .map(|one| {
                (
                    one.name.as_str(),
                    one.allows,
                    one.all_but,
                    one.conditional,
                    one.operations.join(" "),
                )
            })
            .collect();
        assert_eq!(
            short,
            [
                ("all", true, false, false, "Encrypt Decrypt".to_owned()),
                ("#2", true, false, true, "Decrypt".to_owned()),
                ("#3", false, true, true, "Decrypt".to_owned()),
            ]
        );
        assert_eq!(outline[0].principals, ["arn:aws:iam::111122223333:root"]);
        assert_eq!(outline[1].principals.len(), 2);
    }
}
