//! The condition keys there are, in one table. A key that is not here is refused, never ignored.

use crate::names::shown;

/// What a key's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text, which any operator may read its own way.
    Text,
    Arn,
    Flag,
    Number,
    /// A time, in seconds since 1970 or as a date.
    Time,
    Address,
}

impl Kind {
    /// For messages.
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Arn => "an ARN",
            Self::Flag => "a boolean",
            Self::Number => "a number",
            Self::Time => "a time",
            Self::Address => "an IP address",
        }
    }
}

/// How many values a request may have for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Values {
    One,
    Many,
}

use Kind::{Address, Arn, Flag, Number, Text, Time};
use Values::{Many, One};

/// Names as AWS writes them: the IAM User Guide's global keys and the KMS Developer Guide's keys. `…/KEY` and `…:KEY` end in
/// text of the author's choice, `…#` in digits. Known is not the same as present: what the request's context does not hold
/// is absent (this service is not called through others, has no VPCs and attests no recipients).
const KNOWN: &[(&str, Kind, Values)] = &[
    // Who asks.
    ("aws:PrincipalArn", Arn, One),
    ("aws:PrincipalAccount", Text, One),
    ("aws:PrincipalType", Text, One),
    ("aws:PrincipalTag/KEY", Text, One),
    ("aws:PrincipalIsAWSService", Flag, One),
    ("aws:PrincipalServiceName", Text, One),
    ("aws:PrincipalServiceNamesList", Text, Many),
    ("aws:PrincipalOrgID", Text, One),
    ("aws:PrincipalOrgPaths", Text, Many),
    ("aws:userid", Text, One),
    ("aws:username", Text, One),
    // The session that asks.
    ("aws:AssumedRoot", Flag, One),
    ("aws:FederatedProvider", Text, One),
    ("aws:TokenIssueTime", Time, One),
    ("aws:MultiFactorAuthPresent", Flag, One),
    ("aws:MultiFactorAuthAge", Number, One),
    ("aws:SourceIdentity", Text, One),
    ("aws:ChatbotSourceArn", Arn, One),
    ("aws:Ec2InstanceSourceVpc", Text, One),
    ("aws:Ec2InstanceSourcePrivateIPv4", Address, One),
    // Where from.
    ("aws:SourceIp", Address, One),
    ("aws:VpcSourceIp", Address, One),
    ("aws:SourceVpc", Text, One),
    ("aws:SourceVpcArn", Arn, One),
    ("aws:SourceVpce", Text, One),
    ("aws:VpceAccount", Text, One),
    ("aws:VpceOrgID", Text, One),
    ("aws:VpceOrgPaths", Text, Many),
    // The resource.
    ("aws:ResourceAccount", Text, One),
    ("aws:ResourceOrgID", Text, One),
    ("aws:ResourceOrgPaths", Text, Many),
    ("aws:ResourceTag/KEY", Text, One),
    // The request.
    ("aws:CalledVia", Text, Many),
    ("aws:CalledViaFirst", Text, One),
    ("aws:CalledViaLast", Text, One),
    ("aws:ViaAWSService", Flag, One),
    ("aws:CurrentTime", Time, One),
    ("aws:EpochTime", Time, One),
    ("aws:referer", Text, One),
    ("aws:RequestedRegion", Text, One),
    ("aws:RequestTag/KEY", Text, One),
    ("aws:TagKeys", Text, Many),
    ("aws:SecureTransport", Flag, One),
    ("aws:SourceArn", Arn, One),
    ("aws:SourceAccount", Text, One),
    ("aws:SourceOrgID", Text, One),
    ("aws:SourceOrgPaths", Text, Many),
    ("aws:UserAgent", Text, One),
    // KMS.
    ("kms:BypassPolicyLockoutSafetyCheck", Flag, One),
    ("kms:CallerAccount", Text, One),
    ("kms:CustomerMasterKeySpec", Text, One),
    ("kms:CustomerMasterKeyUsage", Text, One),
    ("kms:DataKeyPairSpec", Text, One),
    ("kms:EncryptionAlgorithm", Text, One),
    ("kms:EncryptionContext:KEY", Text, One),
    ("kms:EncryptionContextKeys", Text, Many),
    ("kms:ExpirationModel", Text, One),
    ("kms:GrantConstraintSourceArn", Arn, One),
    ("kms:GrantConstraintType", Text, One),
    ("kms:GranteePrincipal", Text, One),
    ("kms:GranteeServicePrincipal", Text, One),
    ("kms:GrantIsForAWSResource", Flag, One),
    ("kms:GrantOperations", Text, Many),
    ("kms:KeyAgreementAlgorithm", Text, One),
    ("kms:KeyOrigin", Text, One),
    ("kms:KeySpec", Text, One),
    ("kms:KeyUsage", Text, One),
    ("kms:MacAlgorithm", Text, One),
    ("kms:MessageType", Text, One),
    ("kms:MultiRegion", Flag, One),
    ("kms:MultiRegionKeyType", Text, One),
    ("kms:PrimaryRegion", Text, One),
    ("kms:RecipientAttestation:ImageSha384", Text, One),
    ("kms:RecipientAttestation:PCR#", Text, One),
    ("kms:RecipientAttestation:NitroTPMPCR#", Text, One),
    ("kms:ReEncryptOnSameKey", Flag, One),
    ("kms:ReplicaRegion", Text, One),
    ("kms:RequestAlias", Text, One),
    ("kms:ResourceAliases", Text, Many),
    ("kms:RetiringPrincipal", Text, One),
    ("kms:RetiringServicePrincipal", Text, One),
    ("kms:RotationPeriodInDays", Number, One),
    ("kms:ScheduleKeyDeletionPendingWindowInDays", Number, One),
    ("kms:SigningAlgorithm", Text, One),
    ("kms:ValidTo", Time, One),
    ("kms:ViaService", Text, One),
    ("kms:WrappingAlgorithm", Text, One),
    ("kms:WrappingKeySpec", Text, One),
];

/// A known condition key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// In lower case all of it, as names are compared: the author's part too.
    pub name: String,
    pub kind: Kind,
    /// Whether a request may have several values, so that a condition says `ForAllValues` or `ForAnyValue`.
    pub many: bool,
}

impl Key {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let unknown = || {
            format!(
                "there is no condition key `{}`; KMS has `kms:` keys and the global `aws:` keys",
                shown(text)
            )
        };
        if text.contains("${") {
            return Err(format!("`{}`: variables stand in values, not in keys", shown(text)));
        }
        let name = folded(text);
        let (_, kind, values) = entry(&name)
            .filter(|_| !name.ends_with([':', '/']))
            .ok_or_else(unknown)?;
        Ok(Self {
            name,
            kind,
            many: values == Many,
        })
    }

    /// Whether the name is one of the request's own tags or encryption context pairs, for which KMS refuses `ForAllValues`.
    pub(super) fn is_chosen_pair(&self) -> bool {
        self.name.starts_with("kms:encryptioncontext:") || self.name.starts_with("aws:requesttag/")
    }
}

/// The form in which names are compared.
pub(super) fn folded(name: &str) -> String {
    name.chars().flat_map(char::to_lowercase).collect()
}

/// Whether a context may hold values for this name; the author's part may be anything.
pub(super) fn is_known(name: &str) -> bool {
    entry(&folded(name)).is_some()
}

fn entry(name: &str) -> Option<(&'static str, Kind, Values)> {
    let behind = |prefix: &str| {
        let (own, rest) = name.split_at_checked(prefix.len())?;
        own.eq_ignore_ascii_case(prefix).then_some(rest)
    };
    KNOWN.iter().copied().find(|(known, ..)| {
        if let Some(prefix) = known.strip_suffix("KEY") {
            behind(prefix).is_some()
        } else if let Some(prefix) = known.strip_suffix('#') {
            let number = behind(prefix).unwrap_or_default();
            (1..=2).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit())
        } else {
            known.eq_ignore_ascii_case(name)
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_name_is_listed_once_and_found_in_any_case() {
        let mut seen = BTreeSet::new();
        for (name, kind, values) in KNOWN {
            assert!(seen.insert(folded(name)), "{name} is listed twice");
            let written = name.replace('#', "11");
            for text in [written.clone(), written.to_uppercase(), written.to_lowercase()] {
                let key = Key::parse(&text).unwrap();
                assert_eq!((key.kind, key.many), (*kind, *values == Many), "{text}");
            }
        }
    }

    #[test]
    fn what_is_not_listed_is_unknown() {
        for bad in [
            "",
            "aws:",
            "kms:KeySpecs",
            "kms:EncryptionContext",
            "kms:EncryptionContext:",
            "aws:PrincipalTag/",
            "aws:PrincipalTag",
            "s3:prefix",
            "aws:PrincipalArn ",
            "kms:RecipientAttestation:PCR",
            "kms:RecipientAttestation:PCRx",
            "kms:RecipientAttestation:PCR100",
            "cognito-identity.amazonaws.com:sub",
            "kms:EncryptionContext:${aws:username}",
        ] {
            assert!(Key::parse(bad).is_err(), "{bad}");
        }
    }
}
