//! Which recorded operations stop or narrow something, and what of a stretch of the record is still stopped at its end: what a
//! restored authority has to stop again. Pure.

use std::collections::{BTreeMap, BTreeSet};

use audit::record::{Draft, Event, Hash, Outcome, Record};

/// What an operation on record does to what it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// Stops the key until it is enabled.
    StopsKey,
    /// Narrows the key in a way that the record does not tell: who may use it, with which material, whether it may be
    /// deleted or enabled.
    NarrowsKey,
    /// Marks a version of the key, which the record names.
    MarksVersion,
    /// Takes the key's deletion back.
    SparesKey,
    /// Lifts the key's legal hold.
    ReleasesKey,
    /// Enables the key.
    StartsKey,
    StopsAccessKey,
    StartsAccessKey,
    StopsEdge,
    /// Stops a rule about whose tokens make edges.
    StopsEdgeTrust,
    /// Stops what is named, as [`crate::halts::Halt`] reads it.
    Halts,
    Resumes,
    /// Replaces the bundle, by its digest.
    ReplacesBundle,
    /// Gives the new version of a plugin up.
    EndsRollout,
    /// Takes an approver away.
    RemovesApprover,
    /// Changes a quorum, who is in it, or the deletion guard.
    ChangesSafeguards,
}

const MARK_KEY: &str = "kms:MarkKeyCompromised";
const MARK_VERSION: &str = "kms:MarkVersionCompromised";

/// Operations that happen even where nothing can be recorded: they stop a key, an access key or an edge, take away a grant, or
/// keep a key from being deleted, or go back to the version of a plugin that is in force.
const STOPS: &[&str] = &[
    "kms:DisableKey",
    "kms:CancelKeyDeletion",
    "kms:RevokeGrant",
    "kms:RetireGrant",
    "kms:HoldKey",
    MARK_KEY,
    MARK_VERSION,
    operation::DEACTIVATE_ACCESS_KEY,
    operation::DELETE_ACCESS_KEY,
    operation::REVOKE_EDGE,
    operation::REVOKE_EDGE_TRUST,
    operation::STOP,
    operation::ABORT_ROLLOUT,
];

/// Operators' operations in the record, beside the key verbs.
pub(crate) mod operation {
    pub(crate) const REVOKE_EDGE: &str = "admin:RevokeEdge";
    pub(crate) const REMOVE_EDGE_TRUST: &str = "admin:RemoveEdgeTrust";
    /// Of all edges that a trust rule enrolled.
    pub(crate) const REVOKE_EDGE_TRUST: &str = "admin:RevokeEdgeTrust";
    pub(crate) const STOP: &str = "admin:Stop";
    pub(crate) const RESUME: &str = "admin:Resume";
    pub(crate) const DEACTIVATE_ACCESS_KEY: &str = "admin:DeactivateAccessKey";
    pub(crate) const ACTIVATE_ACCESS_KEY: &str = "admin:ActivateAccessKey";
    pub(crate) const ROTATE_ACCESS_KEY: &str = "admin:RotateAccessKey";
    /// A rotation that stops the old key.
    pub(crate) const REPLACE_ACCESS_KEY: &str = "admin:ReplaceAccessKey";
    pub(crate) const DELETE_ACCESS_KEY: &str = "admin:DeleteAccessKey";
    pub(crate) const APPLY_BUNDLE: &str = "admin:ApplyBundle";
    pub(crate) const START_ROLLOUT: &str = "admin:StartRollout";
    /// In the end it replaces the bundle; before, it leaves it as it is.
    pub(crate) const PROMOTE_ROLLOUT: &str = "admin:PromoteRollout";
    pub(crate) const ABORT_ROLLOUT: &str = "admin:AbortRollout";
    pub(crate) const REMOVE_APPROVER: &str = "admin:RemoveApprover";
    pub(crate) const ADD_APPROVER: &str = "admin:AddApprover";
    pub(crate) const SET_QUORUM: &str = "admin:SetQuorum";
    pub(crate) const SET_DELETION_GUARD: &str = "admin:SetDeletionGuard";
}

fn effect(operation: &str) -> Option<Effect> {
    Some(match operation {
        "kms:DisableKey" | "kms:ScheduleKeyDeletion" => Effect::StopsKey,
        MARK_VERSION => Effect::MarksVersion,
        "kms:DeleteImportedKeyMaterial"
        | MARK_KEY
        | "kms:HoldKey"
        | "kms:PutKeyPolicy"
        | "kms:RevokeGrant"
        | "kms:RetireGrant" => Effect::NarrowsKey,
        "kms:CancelKeyDeletion" => Effect::SparesKey,
        "kms:ReleaseKey" => Effect::ReleasesKey,
        "kms:EnableKey" => Effect::StartsKey,
        operation::DEACTIVATE_ACCESS_KEY | operation::REPLACE_ACCESS_KEY | operation::DELETE_ACCESS_KEY => {
            Effect::StopsAccessKey
        }
        operation::ACTIVATE_ACCESS_KEY => Effect::StartsAccessKey,
        operation::REVOKE_EDGE => Effect::StopsEdge,
        operation::REMOVE_EDGE_TRUST | operation::REVOKE_EDGE_TRUST => Effect::StopsEdgeTrust,
        operation::STOP => Effect::Halts,
        operation::RESUME => Effect::Resumes,
        operation::APPLY_BUNDLE | operation::PROMOTE_ROLLOUT => Effect::ReplacesBundle,
        operation::ABORT_ROLLOUT => Effect::EndsRollout,
        operation::REMOVE_APPROVER => Effect::RemovesApprover,
        operation::ADD_APPROVER | operation::SET_QUORUM | operation::SET_DELETION_GUARD => Effect::ChangesSafeguards,
        _ => return None,
    })
}

/// Whether the record of an operation must be durable before the answer: a restore replays it.
pub(crate) fn is_replayed(operation: &str) -> bool {
    effect(operation).is_some()
}

/// Whether an operation happens even where it cannot be recorded.
pub(crate) fn needs_no_record(operation: &str) -> bool {
    STOPS.contains(&operation)
}

/// What is stopped at the end of a stretch of the record.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Stops {
    /// By the key's id: the operations that stopped or narrowed it.
    pub(crate) keys: BTreeMap<String, BTreeSet<String>>,
    /// By the key's id: the versions of it that were marked as compromised.
    pub(crate) versions: BTreeMap<String, BTreeSet<String>>,
    pub(crate) access_keys: BTreeSet<String>,
    pub(crate) edges: BTreeSet<String>,
    /// Trust rules by name, and whether the edges that they enrolled were revoked.
    pub(crate) edge_trust: BTreeMap<String, bool>,
    /// Emergency stops, by name.
    pub(crate) halts: BTreeSet<String>,
    /// Plugins whose new version was given up, by name.
    pub(crate) rollouts: BTreeSet<String>,
    /// Domains whose safeguards were changed, and the approvers that were taken away there.
    pub(crate) safeguards: BTreeMap<String, BTreeSet<String>>,
    /// The digest of the last bundle that was published.
    pub(crate) bundle: Option<Hash>,
}

impl Stops {
    /// Takes the next record in. A key that was stopped and enabled again is not stopped; one that was narrowed stays so.
    pub(crate) fn take(&mut self, record: &Record) {
        let Event::Use(draft) = &record.event else {
            return;
        };
        let operation = draft.profile.as_deref().unwrap_or_default();
        let Some(effect) = effect(operation).filter(|_| draft.outcome == Outcome::Performed) else {
            return;
        };
        self.apply(effect, operation, draft);
    }

    fn apply(&mut self, effect: Effect, operation: &str, draft: &Draft<'_>) {
        if effect == Effect::ReplacesBundle {
            self.bundle = draft.digest;
            return;
        }
        if matches!(effect, Effect::RemovesApprover | Effect::ChangesSafeguards) {
            let removed = self.safeguards.entry(draft.tenant.clone().into_owned()).or_default();
            let removes = effect == Effect::RemovesApprover;
            removed.extend(draft.key.as_deref().filter(|_| removes).map(str::to_owned));
            return;
        }
        let Some(named) = draft.key.as_deref().map(str::to_owned) else {
            return;
        };
        match effect {
            Effect::StopsKey | Effect::NarrowsKey => {
                let operations = self.keys.entry(named).or_default();
                if operation == "kms:ScheduleKeyDeletion" {
                    operations.remove("kms:CancelKeyDeletion");
                }
                operations.insert(operation.to_owned());
            }
            Effect::MarksVersion => {
                let mark = match draft.kid.as_deref() {
                    Some(kid) => {
                        let marked = self.versions.entry(named.clone()).or_default();
                        marked.insert(kid.to_owned());
                        operation
                    }
                    // Nobody knows which version it was: the key counts as compromised.
                    None => MARK_KEY,
                };
                self.keys.entry(named).or_default().insert(mark.to_owned());
            }
            Effect::SparesKey => {
                let operations = self.keys.entry(named).or_default();
                operations.remove("kms:ScheduleKeyDeletion");
                operations.insert(operation.to_owned());
            }
            Effect::ReleasesKey => self.forget(&named, |operation| operation != "kms:HoldKey"),
            Effect::StartsKey => self.forget(&named, |operation| {
                let stays = [Effect::NarrowsKey, Effect::MarksVersion, Effect::SparesKey];
                self::effect(operation).is_some_and(|effect| stays.contains(&effect))
            }),
            Effect::StopsAccessKey => drop(self.access_keys.insert(named)),
            Effect::StartsAccessKey => drop(self.access_keys.remove(&named)),
            Effect::StopsEdge => drop(self.edges.insert(named)),
            Effect::StopsEdgeTrust => {
                *self.edge_trust.entry(named).or_default() |= operation == self::operation::REVOKE_EDGE_TRUST;
            }
            Effect::Halts => drop(self.halts.insert(named)),
            Effect::Resumes => drop(self.halts.remove(&named)),
            Effect::EndsRollout => drop(self.rollouts.insert(named)),
            Effect::ReplacesBundle | Effect::RemovesApprover | Effect::ChangesSafeguards => {}
        }
    }

    fn forget(&mut self, key: &str, keep: impl Fn(&str) -> bool) {
        if let Some(operations) = self.keys.get_mut(key) {
            operations.retain(|operation| keep(operation));
            if operations.is_empty() {
                self.keys.remove(key);
            }
        }
    }
}

/// Whether the operations on a key left it stopped, rather than only spared.
pub(crate) fn stops_key(operations: &BTreeSet<String>) -> bool {
    let stops = |operation: &String| matches!(effect(operation), Some(Effect::StopsKey | Effect::NarrowsKey));
    operations.iter().any(stops)
}

/// Whether the operations on a key leave something that only people can do again: its policy, its grants, its material.
pub(crate) fn needs_review(operations: &BTreeSet<String>) -> bool {
    operations
        .iter()
        .any(|operation| effect(operation) == Some(Effect::NarrowsKey))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn record(operation: &str, named: &str, outcome: Outcome<'static>) -> Record {
        record_of(operation, (named, None), outcome)
    }

    fn record_of(operation: &str, (named, kid): (&str, Option<&str>), outcome: Outcome<'static>) -> Record {
        let draft = Draft {
            outcome,
            caller: "operator:root".into(),
            tenant: "000000000001".into(),
            profile: Some(operation.to_owned().into()),
            key: Some(named.to_owned().into()),
            kid: kid.map(|kid| kid.to_owned().into()),
            digest: Some([7; 32]),
            policies: Vec::new().into(),
            plugins: Vec::new(),
            request_id: Uuid::nil(),
            trace_id: None,
            time_ms: 0,
        };
        Record {
            version: 1,
            edge: "authority".to_owned(),
            incarnation: "a".to_owned(),
            sequence: 2,
            previous: [0; 32],
            event: Event::Use(draft),
        }
    }

    fn after(operations: &[(&str, &str)]) -> Stops {
        let mut stops = Stops::default();
        for (operation, named) in operations {
            stops.take(&record(operation, named, Outcome::Performed));
        }
        stops
    }

    #[test]
    fn what_is_started_again_is_not_stopped_and_what_was_narrowed_stays() {
        let stops = after(&[
            ("kms:DisableKey", "a"),
            ("kms:ScheduleKeyDeletion", "b"),
            ("kms:PutKeyPolicy", "c"),
            ("kms:DisableKey", "c"),
            ("kms:EnableKey", "a"),
            ("kms:EnableKey", "c"),
            ("kms:EnableKey", "never"),
            ("kms:Sign", "d"),
        ]);
        assert_eq!(stops.keys.keys().collect::<Vec<_>>(), ["b", "c"]);
        assert!(!needs_review(&stops.keys["b"]) && needs_review(&stops.keys["c"]));
        let stops = after(&[
            (operation::DEACTIVATE_ACCESS_KEY, "x"),
            (operation::DELETE_ACCESS_KEY, "y"),
            (operation::ROTATE_ACCESS_KEY, "z"),
            (operation::ACTIVATE_ACCESS_KEY, "x"),
            (operation::REVOKE_EDGE, "edge-1"),
            (operation::REVOKE_EDGE_TRUST, "k8s"),
            (operation::REMOVE_EDGE_TRUST, "k8s"),
            (operation::REMOVE_EDGE_TRUST, "ci"),
            (operation::STOP, "tenant/000000000001"),
            (operation::STOP, "all"),
            (operation::RESUME, "all"),
            (operation::ABORT_ROLLOUT, "guard"),
            (operation::APPLY_BUNDLE, ""),
        ]);
        assert_eq!(stops.access_keys.iter().collect::<Vec<_>>(), ["y"]);
        assert_eq!(stops.edges.iter().collect::<Vec<_>>(), ["edge-1"]);
        assert_eq!(
            stops.edge_trust,
            BTreeMap::from([("ci".to_owned(), false), ("k8s".to_owned(), true)])
        );
        assert_eq!(stops.halts.iter().collect::<Vec<_>>(), ["tenant/000000000001"]);
        assert_eq!(stops.rollouts.iter().collect::<Vec<_>>(), ["guard"]);
        assert_eq!(stops.bundle, Some([7; 32]));
    }

    #[test]
    fn what_was_spared_or_released_later_is_not_deleted_or_held() {
        let stops = after(&[
            ("kms:ScheduleKeyDeletion", "a"),
            ("kms:CancelKeyDeletion", "a"),
            ("kms:EnableKey", "a"),
            ("kms:HoldKey", "b"),
            ("kms:ReleaseKey", "b"),
            ("kms:CancelKeyDeletion", "c"),
            ("kms:DisableKey", "c"),
            (operation::REMOVE_APPROVER, "ada"),
            (operation::SET_QUORUM, ""),
        ]);
        assert_eq!(stops.keys.keys().collect::<Vec<_>>(), ["a", "c"]);
        assert!(!stops_key(&stops.keys["a"]) && stops_key(&stops.keys["c"]));
        let removed = &stops.safeguards["000000000001"];
        assert_eq!(removed.iter().collect::<Vec<_>>(), ["ada"]);
    }

    #[test]
    fn a_marked_version_leaves_its_key_working_and_one_that_is_not_named_counts_as_all() {
        let mut stops = Stops::default();
        for (key, kid) in [("a", Some("one")), ("a", Some("two")), ("b", None)] {
            stops.take(&record_of(MARK_VERSION, (key, kid), Outcome::Performed));
        }
        stops.take(&record("kms:EnableKey", "a", Outcome::Performed));
        assert_eq!(stops.versions["a"].iter().collect::<Vec<_>>(), ["one", "two"]);
        assert!(!stops.versions.contains_key("b"));
        assert!(!stops_key(&stops.keys["a"]) && !needs_review(&stops.keys["a"]));
        assert!(stops_key(&stops.keys["b"]) && stops.keys["b"].contains(MARK_KEY));
    }

    #[test]
    fn what_was_refused_stopped_nothing() {
        let mut stops = Stops::default();
        let refused = Outcome::Refused {
            code: "AccessDeniedException".into(),
        };
        stops.take(&record("kms:DisableKey", "a", refused));
        assert_eq!(stops, Stops::default());
    }
}
