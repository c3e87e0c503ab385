//! The request of `AssumeRoleWithWebIdentity`: its parameters, and what is said when its token is not believed.

use node::identity::{AuthCode, AuthError, Caller};
use policies::bundle::Role;

use super::{Form, Refusal, Session, StatusCode, Tenant};

/// Bounds of the parameters (STS's own).
const NAME: std::ops::RangeInclusive<usize> = 2..=64;
const TOKEN: std::ops::RangeInclusive<usize> = 4..=20_000;
const DURATION: std::ops::RangeInclusive<u64> = 900..=43_200;
const DEFAULT_DURATION: u64 = 3600;
/// Bytes of a subject: it is in the session token, in records and in policies.
const MAX_SUBJECT: usize = 1024;

/// The parameters, as they came.
pub(super) struct AssumeRole<'a> {
    pub(super) account: &'a str,
    pub(super) role: &'a str,
    pub(super) token: &'a str,
    session: &'a str,
    /// Seconds.
    duration: Option<u64>,
}

impl<'a> AssumeRole<'a> {
    /// Reads and checks them. What would narrow the session and is not served is refused: it must not be ignored.
    pub(super) fn read(form: &'a Form) -> Result<Self, Refusal> {
        if form.get("Policy").is_some() || form.has_prefix("PolicyArns") {
            return Err(invalid("Session policies are not supported by this service."));
        }
        if form.get("ProviderId").is_some() {
            return Err(invalid(
                "ProviderId is for OAuth 2.0 access tokens, which are not supported by this service.",
            ));
        }
        let role_arn = required(form, "RoleArn", "roleArn")?;
        let session = required(form, "RoleSessionName", "roleSessionName")?;
        let token = required(form, "WebIdentityToken", "webIdentityToken")?;
        let (account, role) = parse_arn(role_arn).ok_or_else(|| invalid(format!("{} is invalid", shown(role_arn))))?;
        if !NAME.contains(&session.len()) || !policies::names::is_role(session) {
            return Err(violation(
                session,
                "roleSessionName",
                r"Member must satisfy regular expression pattern: [\w+=,.@-]{2,64}",
            ));
        }
        if !TOKEN.contains(&token.len()) {
            return Err(invalid("The web identity token has 4 to 20000 characters."));
        }
        Ok(Self {
            account,
            role,
            token,
            session,
            duration: form.get("DurationSeconds").map(duration).transpose()?,
        })
    }

    /// The session that `caller` gets, from `now` (Unix seconds).
    pub(super) fn session(&self, role: &Role, caller: &Caller, now: u64) -> Result<Session, Refusal> {
        let most = role.max_session.as_secs();
        let duration = self.duration.unwrap_or_else(|| DEFAULT_DURATION.min(most));
        if duration > most {
            return Err(invalid(
                "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
            ));
        }
        if caller.subject().len() > MAX_SUBJECT {
            let message = format!("The token's subject has more than {MAX_SUBJECT} bytes.");
            return Err(Refusal::new("InvalidIdentityToken", message));
        }
        Ok(Session {
            account: Tenant::parse(&role.tenant)?,
            role: role.name.clone(),
            name: self.session.to_owned(),
            issuer: caller.issuer().to_owned(),
            subject: caller.subject().to_owned(),
            issued_at: now,
            expires_at: now.saturating_add(duration),
        })
    }
}

/// A role that is not there, and one that does not trust this subject, are not told apart.
pub(super) fn not_authorized() -> Refusal {
    Refusal::new(
        "AccessDenied",
        "Not authorized to perform sts:AssumeRoleWithWebIdentity",
    )
    .status(StatusCode::FORBIDDEN)
}

/// The same whatever is wrong with a token, and whether there is the role that it is for or not: else the names of roles
/// could be guessed without a token that any of them believes.
pub(super) fn not_believed() -> Refusal {
    let message = "The web identity token is malformed or not signed by an identity provider that the role trusts, or it is \
                   for another audience.";
    Refusal::new("InvalidIdentityToken", message)
}

/// Whether a refused token was signed by one of the role's issuers.
pub(super) fn is_believed(error: &AuthError) -> bool {
    matches!(error.kind(), AuthCode::TokenExpired | AuthCode::SubjectNotAllowed)
}

/// What is said of a token that is not believed.
pub(super) fn token_refusal(error: &AuthError) -> Refusal {
    let refusal = match error.kind() {
        AuthCode::TokenExpired => {
            Refusal::new("ExpiredTokenException", "Token expired: get a new one from its issuer.")
        }
        AuthCode::SubjectNotAllowed => not_authorized(),
        _ => not_believed(),
    };
    refusal.logged(format!(
        "{}: {error} {}",
        error.code(),
        error.internal().unwrap_or_default()
    ))
}

fn required<'a>(form: &'a Form, name: &str, path: &str) -> Result<&'a str, Refusal> {
    let missing = || {
        invalid(format!(
            "1 validation error detected: Value null at '{path}' failed to satisfy constraint: Member must not be null"
        ))
    };
    form.get(name).ok_or_else(missing)
}

/// `arn:aws:iam::ACCOUNT:role/NAME` → account and name. Paths before the name are part of IAM, not of roles here.
fn parse_arn(arn: &str) -> Option<(&str, &str)> {
    let (account, name) = arn.strip_prefix("arn:aws:iam::")?.split_once(":role/")?;
    (policies::names::is_tenant(account) && policies::names::is_role(name)).then_some((account, name))
}

fn duration(text: &str) -> Result<u64, Refusal> {
    let seconds = text
        .parse::<u64>()
        .map_err(|_| Refusal::new("MalformedInput", "DurationSeconds is not a whole number."))?;
    let constraint = if seconds < *DURATION.start() {
        format!("Member must have value greater than or equal to {}", DURATION.start())
    } else {
        format!("Member must have value less than or equal to {}", DURATION.end())
    };
    match DURATION.contains(&seconds) {
        true => Ok(seconds),
        false => Err(violation(&seconds.to_string(), "durationSeconds", &constraint)),
    }
}

fn violation(value: &str, path: &str, constraint: &str) -> Refusal {
    let value = shown(value);
    invalid(format!(
        "1 validation error detected: Value '{value}' at '{path}' failed to satisfy constraint: {constraint}"
    ))
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new("ValidationError", message)
}

fn shown(text: &str) -> String {
    crate::names::shown(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(change: &str) -> Result<(), Refusal> {
        let base = "RoleArn=arn:aws:iam::000000000001:role/ci&RoleSessionName=build-7&WebIdentityToken=a.b.c";
        let (name, _) = change.split_once('=').unwrap();
        let kept = base.split('&').filter(|pair| pair.split_once('=').unwrap().0 != name);
        let body = kept.chain([change]).collect::<Vec<_>>().join("&");
        AssumeRole::read(&Form::parse(body.as_bytes()).unwrap()).map(drop)
    }

    #[test]
    fn parameters_outside_their_bounds_are_refused() {
        for good in [
            "DurationSeconds=900",
            "DurationSeconds=43200",
            "RoleSessionName=a+b%40c",
        ] {
            // A plus is a space in a form, which is in no session's name.
            assert_eq!(read(good).is_ok(), !good.contains('+'), "{good}");
        }
        let cases = [
            ("DurationSeconds=899", "ValidationError"),
            ("DurationSeconds=43201", "ValidationError"),
            ("DurationSeconds=1h", "MalformedInput"),
            ("RoleSessionName=a", "ValidationError"),
            ("RoleSessionName=a/b", "ValidationError"),
            ("RoleSessionName=", "ValidationError"),
            ("RoleArn=ci", "ValidationError"),
            ("RoleArn=arn:aws:iam::1:role/ci", "ValidationError"),
            ("RoleArn=arn:aws:iam::000000000001:role/path/ci", "ValidationError"),
            ("WebIdentityToken=abc", "ValidationError"),
            ("Policy={}", "ValidationError"),
            (
                "PolicyArns.member.1.arn=arn:aws:iam::aws:policy/ReadOnlyAccess",
                "ValidationError",
            ),
            ("ProviderId=www.amazon.com", "ValidationError"),
        ];
        for (change, code) in cases {
            assert_eq!(read(change).unwrap_err().code, code, "{change}");
        }
    }
}
