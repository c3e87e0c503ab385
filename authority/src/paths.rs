//! Where each kind of row lives in the store, and under whose key it is sealed. Every path of the authority is made here.

use crate::approvals::{Approval, Domain};
use crate::halts::Halt;
use crate::names::{EdgeId, Tenant};

/// Whose key-encryption key seals a row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The authority's own rows: identity, edges, join tokens, bundle, access keys.
    System,
    /// One tenant's rows.
    Tenant(Tenant),
}

impl Scope {
    /// The scope of a row, told from its path; none for paths that are not ours and for the key-encryption keys, which the HSM seals.
    pub fn of(path: &str) -> Option<Self> {
        let (kind, rest) = path.split_once('/')?;
        match kind {
            "tenants" | "keys" | "aliases" | "material" | "ca" | "grants" | "grant-counts" | "usage" | "activity"
            | "imports" | "replicas" => {
                let tenant = rest.split('/').next().unwrap_or_default();
                Tenant::parse(tenant).ok().map(Self::Tenant)
            }
            "safeguards" | "approvals" => match Domain::parse(rest.split('/').next().unwrap_or_default()).ok()? {
                Domain::Tenant(tenant) => Some(Self::Tenant(tenant)),
                Domain::Authority => Some(Self::System),
            },
            "system" | "halts" | "edges" | "edge-trust" | "edge-room" | "tokens" | "bundle" | "access-keys"
            | "access-secrets" | "retirable" => Some(Self::System),
            _ => None,
        }
    }
}

/// The key-encryption key of a scope, sealed by the HSM.
pub fn kek(scope: &Scope) -> String {
    match scope {
        Scope::System => "kek/system".to_owned(),
        Scope::Tenant(tenant) => format!("kek/{tenant}"),
    }
}

/// Trust domain and root certificates.
pub const AUTHORITY: &str = "system/authority";
/// Hash of the administrator's token.
pub const ADMIN: &str = "system/admin";
/// All tenants.
pub const TENANTS: &str = "tenants/";
/// All logical keys, of all tenants.
pub const KEYS: &str = "keys/";
/// All edges.
pub const EDGES: &str = "edges/";
/// All rules about whose tokens make edges.
pub const EDGE_TRUST: &str = "edge-trust/";
/// All join tokens, and the other tokens that made edges.
pub const TOKENS: &str = "tokens/";
/// All access keys.
pub const ACCESS_KEYS: &str = "access-keys/";
/// All requests for approval, of all domains.
pub const APPROVALS: &str = "approvals/";
/// The secret that session tokens are sealed under.
pub const SESSIONS: &str = "system/sessions";
/// What opens the replicas that other authorities seal for this one.
pub const REPLICA_OPENING: &str = "system/replica-opening";
/// What signs the replicas that this authority seals for others.
pub const REPLICA_SIGNING: &str = "system/replica-signing";
/// The backup key: its public half and what may be known of its shares.
pub const BACKUP_KEY: &str = "system/backup-key";
/// The secret that shows that a backup is this authority's own.
pub const BACKUP_AUTHENTICATION: &str = "system/backup-authentication";
/// Why this authority does not serve; absent when it does.
pub const SEAL: &str = "system/seal";
/// From where on the sums over all rows were kept.
pub const SUMS: &str = "system/sums";
/// That there is an anchor outside this store, of an authority that is alone on it.
pub const ANCHOR: &str = "system/anchor";
/// Which of several authorities does what time makes due.
pub const LEADER: &str = "system/leader";
/// The time that the upkeep believed last.
pub const SEEN: &str = "system/seen";
/// The secret that edges' revisions are shown to be ours with.
pub const REVISIONS: &str = "system/revisions";
/// What was replayed or waived after restores, oldest first.
pub const UNSEALINGS: &str = "system/unsealings/";
/// The key that signs the audit log's checkpoints.
pub const AUDIT_KEY: &str = "system/audit-key";
/// The CA of those who sign revocation lists.
pub const REVOCATION_CA: &str = "system/revocation-ca";
/// What operators have stopped.
pub const HALTS: &str = "halts/";
/// Written when what edges have decided by was withdrawn.
pub const FLOOR: &str = "system/floor";
/// Which bundle is published.
pub const BUNDLE: &str = "bundle/current";
/// The rollouts of new versions of its plugins.
pub const ROLLOUTS: &str = "bundle/rollouts";

/// The key of an audit log's checkpoints: each of several authorities has a log of its own.
pub fn audit_key_of(replica: &str) -> String {
    match replica {
        "" => AUDIT_KEY.to_owned(),
        replica => format!("{AUDIT_KEY}/{replica}"),
    }
}

/// The key of a log that is not the newest, by the last part of the log's name.
pub fn former_audit_key(short: &str) -> String {
    format!("system/former-audit-keys/{short}")
}

/// That one of several authorities has an anchor outside this store.
pub fn anchor_of(replica: &str) -> String {
    format!("{ANCHOR}/{replica}")
}

/// A tenant's own row.
pub fn tenant(tenant: &Tenant) -> String {
    format!("{TENANTS}{tenant}")
}

/// A tenant's logical keys.
pub fn keys(tenant: &Tenant) -> String {
    format!("{KEYS}{tenant}/")
}

/// A logical key, by the name of its row ([`crate::keys::KeyRecord::row`]). No secrets.
pub fn key(tenant: &Tenant, row: &str) -> String {
    format!("{KEYS}{tenant}/{row}")
}

/// A tenant's aliases in one region.
pub fn aliases(tenant: &Tenant, region: &str) -> String {
    format!("aliases/{tenant}/{region}/")
}

/// An alias, by its name with the `alias/` prefix.
pub fn alias(tenant: &Tenant, region: &str, name: &str) -> String {
    format!("aliases/{tenant}/{region}/{name}")
}

/// How many grants a key has, by the name of its row.
pub fn grant_count(tenant: &Tenant, row: &str) -> String {
    format!("grant-counts/{tenant}/{row}")
}

/// The grants in a region that a principal may retire, by the hash of its ARN in hex: of any account's keys, whether the
/// principal's own account is a tenant or not.
pub fn retirable(region: &str, principal_hex: &str) -> String {
    format!("retirable/{region}/{principal_hex}/")
}

/// The grants of a key, by the name of its row.
pub fn grants(tenant: &Tenant, row: &str) -> String {
    format!("grants/{tenant}/{row}/")
}

/// A grant.
pub fn grant(tenant: &Tenant, row: &str, id: &str) -> String {
    format!("grants/{tenant}/{row}/{id}")
}

/// What import tokens of a key are sealed for; there is no row.
pub fn import(tenant: &Tenant, row: &str) -> String {
    format!("imports/{tenant}/{row}")
}

/// What was last imported of a key whose primary is at another authority.
pub fn replica(tenant: &Tenant, id: &str) -> String {
    format!("replicas/{tenant}/{id}")
}

/// When a key was last used, by the name of its row.
pub fn usage(tenant: &Tenant, row: &str) -> String {
    format!("usage/{tenant}/{row}")
}

/// The key whose use the row at `usage` is about.
pub fn used_key(usage: &str) -> String {
    format!("{KEYS}{}", usage.strip_prefix("usage/").unwrap_or(usage))
}

/// What a tenant's callers asked for, all days.
pub fn activities(tenant: &Tenant) -> String {
    format!("activity/{tenant}/")
}

/// What a tenant's callers asked for on one day, counted from 1970-01-01.
pub fn activity(tenant: &Tenant, day: u64) -> String {
    format!("activity/{tenant}/{day:06}")
}

/// The secret of one version of a logical key.
pub fn material(tenant: &Tenant, id: &str, version: u32) -> String {
    format!("material/{tenant}/{id}/{version:010}")
}

/// The CA of a logical key with delegation `own`. Only [`crate::delegate`] reads it, and no verb takes a path.
pub fn ca(tenant: &Tenant, id: &str) -> String {
    format!("ca/{tenant}/{id}")
}

/// An edge.
pub fn edge(id: &EdgeId) -> String {
    format!("{EDGES}{id}")
}

/// A stop, by its name.
pub fn halt(halt: &Halt) -> String {
    format!("{HALTS}{halt}")
}

/// A rule about whose tokens make edges.
pub fn edge_trust(name: &EdgeId) -> String {
    format!("{EDGE_TRUST}{name}")
}

/// Changed by whoever enrolls an edge by a rule, so that several do so one after the other.
pub fn edge_room(rule: &EdgeId) -> String {
    format!("edge-room/{rule}")
}

/// A join token, by the SHA-256 of the token in hex; a token under a trust rule, by that of what is signed in it.
pub fn token(hash_hex: &str) -> String {
    format!("{TOKENS}{hash_hex}")
}

/// An access key, by its id. No secret.
pub fn access_key(id: &str) -> String {
    format!("{ACCESS_KEYS}{id}")
}

/// The secret of an access key, by the key's id.
pub fn access_secret(id: &str) -> String {
    format!("access-secrets/{id}")
}

/// A domain's quorum, approvers and deletion guard.
pub fn safeguards(domain: &Domain) -> String {
    format!("safeguards/{domain}")
}

/// Changed by whoever stores a request for approval, so that several authorities do so one after the other.
pub fn asking(domain: &Domain) -> String {
    format!("safeguards/{domain}/asking")
}

/// A domain's requests for approval.
pub fn approvals(domain: &Domain) -> String {
    format!("{APPROVALS}{domain}/")
}

/// A request for approval.
pub fn approval(approval: &Approval) -> String {
    approval_by_id(&approval.domain, &approval.id)
}

/// A request for approval, by its id and the domain that this says.
pub fn approval_by_id(domain: &Domain, id: &str) -> String {
    format!("{APPROVALS}{domain}/{id}")
}

/// One file of a bundle, by the bundle's digest and the file's place in its sorted list: its beginning, or a further piece of
/// a long one.
pub fn bundle_file(digest: &str, index: usize, piece: usize) -> String {
    match piece {
        0 => format!("bundle/{digest}/{index:04}"),
        piece => format!("bundle/{digest}/{index:04}.{piece}"),
    }
}

/// The component of a rollout, by the rollout's id.
pub fn rollout_component(id: &str) -> String {
    format!("{ROLLOUTS}/{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_sealed_under_its_owners_key() {
        let tenant = Tenant::parse("000000000001").unwrap();
        let theirs = Some(Scope::Tenant(tenant.clone()));
        for path in [
            key(&tenant, "a"),
            alias(&tenant, "local", "alias/x"),
            grant(&tenant, "a", "b"),
            grant_count(&tenant, "a"),
            usage(&tenant, "a"),
            activity(&tenant, 1),
            import(&tenant, "a"),
            replica(&tenant, "a"),
            material(&tenant, "a", 1),
            ca(&tenant, "a"),
            super::tenant(&tenant),
            safeguards(&Domain::Tenant(tenant.clone())),
            approval_by_id(&Domain::Tenant(tenant.clone()), "apr-x"),
        ] {
            assert_eq!(Scope::of(&path), theirs, "{path}");
        }
        for path in [
            AUTHORITY.to_owned(),
            edge(&EdgeId::parse("e").unwrap()),
            edge_trust(&EdgeId::parse("e").unwrap()),
            edge_room(&EdgeId::parse("e").unwrap()),
            token("00"),
            bundle_file("ab", 3, 0),
            bundle_file("ab", 3, 1),
            ROLLOUTS.to_owned(),
            rollout_component("a"),
            access_key("AKIA"),
            access_secret("AKIA"),
            SESSIONS.to_owned(),
            retirable("local", "00"),
            REPLICA_OPENING.to_owned(),
            REPLICA_SIGNING.to_owned(),
            AUDIT_KEY.to_owned(),
            safeguards(&Domain::Authority),
            halt(&Halt::Everything),
            FLOOR.to_owned(),
            SUMS.to_owned(),
            approval_by_id(&Domain::Authority, "apr-x"),
        ] {
            assert_eq!(Scope::of(&path), Some(Scope::System), "{path}");
        }
        assert_eq!(used_key(&usage(&tenant, "a")), key(&tenant, "a"));
        for path in ["kek/system", "keys/x/y", "other/x", "keys"] {
            assert_eq!(Scope::of(path), None, "{path}");
        }
    }
}
