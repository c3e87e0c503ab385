//! Who makes a request.

use crate::names::shown;

/// A principal that asks, known by its ARN. For a role's session the role's ARN is known too, with its path, which the
/// session's ARN leaves out: so a statement that names the role finds its sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    arn: String,
    account: String,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Root,
    /// By name, without its path.
    User(String),
    /// Of the role with this ARN.
    Session {
        role: String,
    },
    Federated,
}

/// What is no principal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CallerFault(String);

impl Caller {
    /// Takes the ARN of an account's root, a user, an assumed role's session or a federated user, and the role's ARN for a
    /// session and for nothing else.
    ///
    /// # Errors
    /// [`CallerFault`]: the ARN is of another form, or the role is missing, superfluous or another session's.
    pub fn new(arn: &str, role: Option<&str>) -> Result<Self, CallerFault> {
        let fault = |why: String| Err(CallerFault(why));
        let Some(parts) = Parts::of(arn) else {
            return fault(format!("`{}` is the ARN of no principal", shown(arn)));
        };
        let kind = match (parts.entity, role) {
            (Entity::Root, None) => Kind::Root,
            (Entity::User { name }, None) => Kind::User(name.to_owned()),
            (Entity::FederatedUser, None) => Kind::Federated,
            (Entity::Session { role: own }, Some(role)) => match Parts::of(role) {
                Some(other) if other.account == parts.account && other.entity == (Entity::Role { name: own }) => {
                    Kind::Session { role: role.to_owned() }
                }
                _ => return fault(format!("`{}` is not the role of `{}`", shown(role), shown(arn))),
            },
            (Entity::Session { .. }, None) => return fault(format!("the session `{}` has no role", shown(arn))),
            (Entity::Role { .. }, _) => return fault(format!("the role `{}` asks only through sessions", shown(arn))),
            (_, Some(_)) => return fault(format!("`{}` is no session, so it has no role", shown(arn))),
        };
        Ok(Self {
            arn: arn.to_owned(),
            account: parts.account.to_owned(),
            kind,
        })
    }

    /// Its ARN, for a session the session's own.
    pub fn arn(&self) -> &str {
        &self.arn
    }

    /// Its account's 12 digits.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The role's ARN, for a session.
    pub fn role(&self) -> Option<&str> {
        match &self.kind {
            Kind::Session { role } => Some(role),
            _ => None,
        }
    }

    /// Whether it is the account's root.
    pub fn is_root(&self) -> bool {
        self.kind == Kind::Root
    }

    /// `aws:PrincipalArn`: for a session the role's ARN.
    pub(super) fn entity(&self) -> &str {
        self.role().unwrap_or(&self.arn)
    }

    /// `aws:PrincipalType`.
    pub(super) fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Root => "Account",
            Kind::User(_) => "User",
            Kind::Session { .. } => "AssumedRole",
            Kind::Federated => "FederatedUser",
        }
    }

    /// `aws:username`, which only users have.
    pub(super) fn user_name(&self) -> Option<&str> {
        match &self.kind {
            Kind::User(name) => Some(name),
            _ => None,
        }
    }
}

/// A principal's ARN, taken apart.
pub(super) struct Parts<'a> {
    pub account: &'a str,
    pub entity: Entity<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entity<'a> {
    Root,
    User { name: &'a str },
    Role { name: &'a str },
    Session { role: &'a str },
    FederatedUser,
}

impl<'a> Parts<'a> {
    /// Only ARNs of the partition `aws` that name one principal: wildcards are not among the characters of names.
    pub(super) fn of(arn: &'a str) -> Option<Self> {
        let mut parts = arn.splitn(6, ':');
        let (scheme, partition) = (parts.next()?, parts.next()?);
        let (service, region) = (parts.next()?, parts.next()?);
        let (account, resource) = (parts.next()?, parts.next()?);
        if (scheme, partition, region) != ("arn", "aws", "") || !policies::names::is_tenant(account) {
            return None;
        }
        let entity = match (service, resource.split_once('/')) {
            ("iam", None) if resource == "root" => Entity::Root,
            ("iam", Some(("user", path))) => Entity::User { name: last(path)? },
            ("iam", Some(("role", path))) => Entity::Role { name: last(path)? },
            ("sts", Some(("assumed-role", rest))) => {
                let (role, session) = rest.split_once('/')?;
                (is_name(role) && is_name(session)).then_some(Entity::Session { role })?
            }
            ("sts", Some(("federated-user", name))) if is_name(name) => Entity::FederatedUser,
            _ => return None,
        };
        Some(Self { account, entity })
    }
}

/// The name behind a path, all of whose parts are names.
fn last(path: &str) -> Option<&str> {
    path.split('/').all(is_name).then(|| path.rsplit('/').next())?
}

/// IAM's characters of names.
fn is_name(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'+' | b'=' | b',' | b'.' | b'@' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: &str = "arn:aws:iam::111122223333:role/team/Signer";
    const SESSION: &str = "arn:aws:sts::111122223333:assumed-role/Signer/one";

    #[test]
    fn each_kind_of_caller_knows_itself() {
        let user = Caller::new("arn:aws:iam::111122223333:user/team/alice", None).unwrap();
        assert_eq!(
            (user.kind(), user.user_name(), user.account()),
            ("User", Some("alice"), "111122223333")
        );
        assert_eq!(user.entity(), user.arn());
        let session = Caller::new(SESSION, Some(ROLE)).unwrap();
        assert_eq!(
            (session.kind(), session.user_name(), session.entity()),
            ("AssumedRole", None, ROLE)
        );
        let root = Caller::new("arn:aws:iam::111122223333:root", None).unwrap();
        assert!(root.is_root() && root.kind() == "Account");
        let federated = Caller::new("arn:aws:sts::111122223333:federated-user/bob", None).unwrap();
        assert_eq!((federated.kind(), federated.role()), ("FederatedUser", None));
    }

    // A session without its role would escape a statement that denies the role.
    #[test]
    fn a_session_comes_with_its_own_role_or_not_at_all() {
        for (arn, role) in [
            (SESSION, None),
            (SESSION, Some("arn:aws:iam::111122223333:role/Other")),
            (SESSION, Some("arn:aws:iam::444455556666:role/Signer")),
            (SESSION, Some("arn:aws:iam::111122223333:user/Signer")),
            (SESSION, Some(SESSION)),
            (ROLE, None),
            (ROLE, Some(ROLE)),
            ("arn:aws:iam::111122223333:user/alice", Some(ROLE)),
            ("arn:aws:iam::111122223333:root", Some(ROLE)),
        ] {
            assert!(Caller::new(arn, role).is_err(), "{arn} {role:?}");
        }
    }

    #[test]
    fn other_arns_are_no_callers() {
        for arn in [
            "",
            "*",
            "111122223333",
            "arn:aws:iam::111122223333:group/a",
            "arn:aws:iam::111122223333:user/",
            "arn:aws:iam::111122223333:user//a",
            "arn:aws:iam::111122223333:user/a*",
            "arn:aws:iam::111122223333:user",
            "arn:aws:iam:local:111122223333:user/a",
            "arn:aws:iam::11112222333:user/a",
            "arn:aws-cn:iam::111122223333:user/a",
            "arn:aws:sts::111122223333:user/a",
            "arn:aws:sts::111122223333:assumed-role/a",
            "arn:aws:sts::111122223333:assumed-role/a/b/c",
            "arn:aws:sts::111122223333:federated-user/a/b",
            "arn:aws:iam::111122223333:root/a",
            "arn:aws:kms:local:111122223333:key/a",
        ] {
            assert!(Caller::new(arn, None).is_err(), "{arn}");
        }
    }
}
