//! What of a key changes in its life: its state, where its material is from, its rotations, its regions.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Days between two automatic rotations where nobody said otherwise (KMS's default).
pub const DEFAULT_PERIOD_DAYS: u32 = 365;

/// Whether a key may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It works.
    Enabled,
    /// It does nothing; what it signed verifies elsewhere.
    Disabled,
    /// As disabled, and gone for good at `at` (Unix seconds).
    PendingDeletion {
        /// When.
        at: u64,
        /// The window that was asked for, days.
        window_days: u32,
    },
    /// It has no material: it was never imported, was deleted, or has expired.
    PendingImport,
    /// The primary of replicas that are still there: its window begins when the last one is gone.
    PendingReplicaDeletion {
        /// The window that was asked for, days.
        window_days: u32,
    },
}

impl State {
    /// `KeyState`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "Enabled",
            Self::Disabled => "Disabled",
            Self::PendingDeletion { .. } => "PendingDeletion",
            Self::PendingImport => "PendingImport",
            Self::PendingReplicaDeletion { .. } => "PendingReplicaDeletion",
        }
    }

    /// Whether it is on its way out.
    pub fn is_pending_deletion(self) -> bool {
        matches!(self, Self::PendingDeletion { .. } | Self::PendingReplicaDeletion { .. })
    }
}

/// Who made the material: `Origin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// This service.
    #[serde(rename = "AWS_KMS")]
    AwsKms,
    /// Whoever imports it.
    #[serde(rename = "EXTERNAL")]
    External,
}

impl Origin {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AwsKms => "AWS_KMS",
            Self::External => "EXTERNAL",
        }
    }
}

/// Whose a key is to manage: `KeyManager`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Manager {
    /// The account's.
    #[serde(rename = "CUSTOMER")]
    Customer,
    /// A service's default key.
    #[serde(rename = "AWS")]
    Service,
}

/// The related keys of a multi-Region key, the same in each of their rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MultiRegion {
    /// The primary's region.
    pub primary: String,
    /// The replicas' regions.
    pub replicas: BTreeSet<String>,
}

/// The rotation of a raw symmetric key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// Whether time rotates it.
    pub enabled: bool,
    /// Days between two rotations by time.
    pub period_days: u32,
    /// When the next one is due, Unix seconds; meaningless where it is not enabled.
    pub next_at: u64,
    /// Rotations on demand so far.
    pub on_demand: u32,
    /// Completed rotations, oldest first.
    pub history: Vec<Rotated>,
}

impl Default for Rotation {
    fn default() -> Self {
        Self {
            enabled: false,
            period_days: DEFAULT_PERIOD_DAYS,
            next_at: 0,
            on_demand: 0,
            history: Vec::new(),
        }
    }
}

/// One completed rotation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotated {
    /// The version that it made.
    pub version: u32,
    /// Unix seconds.
    pub at: u64,
    /// Who asked.
    pub kind: RotationKind,
}

/// What made a rotation: `RotationType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RotationKind {
    /// Time.
    #[serde(rename = "AUTOMATIC")]
    Automatic,
    /// A caller.
    #[serde(rename = "ON_DEMAND")]
    OnDemand,
}

impl RotationKind {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Automatic => "AUTOMATIC",
            Self::OnDemand => "ON_DEMAND",
        }
    }
}

/// What was brought of a key's material, by the numbers of its versions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imports {
    /// The material that is there.
    pub present: BTreeMap<u32, Imported>,
    /// The version that a rotation on demand makes the current one; until then it can be taken back.
    pub pending: Option<u32>,
}

/// Material that was brought, and is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// When it is deleted, Unix seconds; none: never.
    pub valid_to: Option<u64>,
    /// As its importer described it.
    pub description: Option<String>,
}
