//! Proof that a request may be signed: each stage's value is made only by the stage before it.
//!
//! [`Permit`] comes from the engine alone and owns the intent; [`Permit::meter`] takes the quota and makes [`Metered`];
//! [`Metered::clear`] holds what the plugins ruled against the profile and makes [`Cleared`], which is all that a key
//! ring signs. There is no other way to make one, and none of them can be cloned.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::intent::{Intent, claims_out_of_bounds};
use crate::profile::Profile;

/// A request that policy permitted, with everything that was judged.
#[derive(Debug)]
pub struct Permit {
    intent: Intent,
    profile: Arc<Profile>,
    key_id: String,
    policies: Vec<Arc<str>>,
}

/// A permitted request for which the quota was taken.
#[derive(Debug)]
pub struct Metered(Permit);

/// A request that every plugin of its profile let pass: the only thing that is signed.
#[derive(Debug)]
pub struct Cleared {
    permit: Permit,
    lifetime: u32,
    ruled: Vec<Ruled>,
}

/// Which plugin ruled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruled {
    /// Its name.
    pub plugin: String,
    /// SHA-256 of its component: while a new version is on its way, which of the two ruled.
    pub component: [u8; 32],
    /// It ruled nothing, because it failed so: the profile must let it be skipped.
    pub skipped: Option<&'static str>,
}

/// Counts what is permitted. One instance serves all requests.
pub trait Quota {
    /// Takes one signature from each quota of the profile, or from none of them.
    ///
    /// # Errors
    /// [`RetryAfter`] for the quota that is used up. Never blocks.
    fn take(&self, key_id: &str, profile: &Profile) -> Result<(), RetryAfter>;
}

/// A quota that is used up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the quota {quota} is used up, try again in {} s", .after.as_secs_f32().ceil())]
pub struct RetryAfter {
    /// Which one: `per_key` or `per_profile`.
    pub quota: &'static str,
    /// How many come at once.
    pub limit: u32,
    /// How long its window is: the time in which `limit` come back.
    pub window: Duration,
    /// When one will be there again.
    pub after: Duration,
}

/// What one plugin ruled: it only narrows.
#[derive(Clone, Debug, PartialEq)]
pub struct Ruling {
    /// Who ruled.
    pub by: Ruled,
    /// The longest lifetime it accepts, in seconds; none: as asked. Without effect on artifacts.
    pub lifetime_cap: Option<u32>,
    /// Claims it adds. The profile must list each as a plugin's.
    pub claims: Vec<(String, Value)>,
}

/// Rulings that clear nothing.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct NotCleared {
    /// Why.
    pub error: ClearError,
    /// Who ruled.
    pub ruled: Vec<Ruled>,
}

/// Why rulings clear nothing. The plugin, or the code that ran it, is to blame, never the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClearError {
    /// The rulings are not those of the profile's plugins in the profile's order.
    #[error("the rulings are of [{}], the profile asks for [{}]", .found.join(", "), .expected.join(", "))]
    Plugins {
        /// The profile's plugins.
        expected: Vec<String>,
        /// The plugins that ruled.
        found: Vec<String>,
    },
    /// A plugin set a claim that the profile does not list as a plugin's.
    #[error("the plugin `{plugin}` set the claim `{claim}`, which the profile does not list under claims.plugin")]
    ClaimNotListed {
        /// The plugin.
        plugin: String,
        /// The claim.
        claim: String,
    },
    /// Two rulings set one claim.
    #[error("the plugin `{plugin}` set the claim `{claim}`, which is set already")]
    ClaimTwice {
        /// The plugin.
        plugin: String,
        /// The claim.
        claim: String,
    },
    /// The claims are too many, too deep or too large once the plugins added theirs.
    #[error("with what the plugin `{plugin}` added, {detail}")]
    ClaimsTooLarge {
        /// The last plugin that added one.
        plugin: String,
        /// Which bound.
        detail: String,
    },
    /// A plugin capped the lifetime at 0 seconds: it has to refuse instead.
    #[error("the plugin `{plugin}` capped the lifetime at 0 seconds, it has to refuse instead")]
    NoLifetime {
        /// The plugin.
        plugin: String,
    },
    /// A plugin was skipped whose verdict the profile needs.
    #[error("the plugin `{plugin}` was skipped, but the profile does not list it under may_skip")]
    NotSkippable {
        /// The plugin.
        plugin: String,
    },
    /// A plugin set claims of something that has none.
    #[error("the plugin `{plugin}` set claims, but the profile signs no tokens")]
    NotAToken {
        /// The plugin.
        plugin: String,
    },
}

impl ClearError {
    /// The plugin at fault, where it is one.
    pub fn plugin(&self) -> Option<&str> {
        match self {
            Self::Plugins { .. } => None,
            Self::ClaimNotListed { plugin, .. }
            | Self::ClaimTwice { plugin, .. }
            | Self::ClaimsTooLarge { plugin, .. }
            | Self::NoLifetime { plugin }
            | Self::NotSkippable { plugin }
            | Self::NotAToken { plugin } => Some(plugin),
        }
    }
}

impl Permit {
    pub(crate) fn new(intent: Intent, profile: Arc<Profile>, key_id: String, policies: Vec<Arc<str>>) -> Self {
        Self {
            intent,
            profile,
            key_id,
            policies,
        }
    }

    /// Takes the quota of the key and the profile.
    ///
    /// # Errors
    /// [`RetryAfter`]; the permit is gone, a later attempt is judged anew.
    pub fn meter(self, quota: &dyn Quota) -> Result<Metered, RetryAfter> {
        quota.take(&self.key_id, &self.profile)?;
        Ok(Metered(self))
    }

    /// What was permitted.
    pub fn intent(&self) -> &Intent {
        &self.intent
    }

    /// The profile it was judged by.
    pub fn profile(&self) -> &Arc<Profile> {
        &self.profile
    }

    /// The key it was judged with.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Ids of the policies that permitted it, never empty.
    pub fn policies(&self) -> &[Arc<str>] {
        &self.policies
    }
}

impl Metered {
    /// The plugins that have to rule, in this order.
    pub fn plugins(&self) -> &[String] {
        &self.0.profile.plugins
    }

    /// What was permitted.
    pub fn intent(&self) -> &Intent {
        &self.0.intent
    }

    /// The profile it was judged by.
    pub fn profile(&self) -> &Arc<Profile> {
        &self.0.profile
    }

    /// The key it was judged with.
    pub fn key_id(&self) -> &str {
        &self.0.key_id
    }

    /// Ids of the policies that permitted it.
    pub fn policies(&self) -> &[Arc<str>] {
        &self.0.policies
    }

    /// Whether the profile lets a plugin be skipped when it fails. A verdict that the profile does not take is no such
    /// failure: it is never skipped.
    pub fn may_skip(&self, plugin: &str) -> bool {
        self.0.profile.may_skip.iter().any(|name| name == plugin)
    }

    /// Whether the claims of a plugin could be added to what is asked for, by their names. [`Metered::clear`] says it finally.
    pub fn takes_claims<'a>(&self, mut names: impl Iterator<Item = &'a String>) -> bool {
        match (self.intent(), self.profile().token()) {
            (Intent::Token(token), Some(rules)) => {
                names.all(|name| rules.claims.plugin.contains(name) && !token.claims.contains_key(name))
            }
            _ => names.next().is_none(),
        }
    }

    /// Applies one ruling of each plugin of the profile, in its order. The lifetime becomes the least of what was asked
    /// and what the plugins accept; claims are added.
    ///
    /// # Errors
    /// [`NotCleared`]; the request is refused with `rule_failed`.
    pub fn clear(self, mut rulings: Vec<Ruling>) -> Result<Cleared, NotCleared> {
        let mut permit = self.0;
        let narrowed = narrow(&mut permit, &mut rulings);
        let ruled = rulings.into_iter().map(|ruling| ruling.by).collect();
        match narrowed {
            Ok(lifetime) => Ok(Cleared {
                permit,
                lifetime,
                ruled,
            }),
            Err(error) => Err(NotCleared { error, ruled }),
        }
    }
}

/// Applies what the plugins ruled, and answers with the token's lifetime.
fn narrow(permit: &mut Permit, rulings: &mut [Ruling]) -> Result<u32, ClearError> {
    let profile = Arc::clone(&permit.profile);
    if !rulings.iter().map(|ruling| &ruling.by.plugin).eq(&profile.plugins) {
        return Err(ClearError::Plugins {
            expected: profile.plugins.clone(),
            found: rulings.iter().map(|ruling| ruling.by.plugin.clone()).collect(),
        });
    }
    for ruling in rulings {
        if ruling.by.skipped.is_none() {
            apply(&mut permit.intent, &profile, ruling)?;
        } else if !profile.may_skip.contains(&ruling.by.plugin) {
            let plugin = ruling.by.plugin.clone();
            return Err(ClearError::NotSkippable { plugin });
        }
    }
    Ok(match &permit.intent {
        Intent::Token(token) => token.lifetime,
        Intent::Artifact(_) | Intent::Verify(_) => 0,
    })
}

fn apply(intent: &mut Intent, profile: &Profile, ruling: &mut Ruling) -> Result<(), ClearError> {
    let plugin = || ruling.by.plugin.clone();
    let claims = std::mem::take(&mut ruling.claims);
    let (Intent::Token(token), Some(rules)) = (intent, profile.token()) else {
        return if claims.is_empty() {
            Ok(())
        } else {
            Err(ClearError::NotAToken { plugin: plugin() })
        };
    };
    if let Some(cap) = ruling.lifetime_cap {
        if cap == 0 {
            return Err(ClearError::NoLifetime { plugin: plugin() });
        }
        token.lifetime = token.lifetime.min(cap);
    }
    if claims.is_empty() {
        return Ok(());
    }
    for (claim, value) in claims {
        if !rules.claims.plugin.contains(&claim) {
            return Err(ClearError::ClaimNotListed {
                plugin: plugin(),
                claim,
            });
        }
        if token.claims.contains_key(&claim) {
            return Err(ClearError::ClaimTwice {
                plugin: plugin(),
                claim,
            });
        }
        token.claims.insert(claim, value);
    }
    match claims_out_of_bounds(&token.claims) {
        Some(detail) => Err(ClearError::ClaimsTooLarge {
            plugin: plugin(),
            detail,
        }),
        None => Ok(()),
    }
}

impl Cleared {
    /// What is to be signed, with the plugins' claims.
    pub fn intent(&self) -> &Intent {
        &self.permit.intent
    }

    /// The profile it was judged by.
    pub fn profile(&self) -> &Arc<Profile> {
        &self.permit.profile
    }

    /// The key it was judged with, and which alone may sign it.
    pub fn key_id(&self) -> &str {
        &self.permit.key_id
    }

    /// The token's lifetime in seconds, after every cap; 0 for an artifact, which has none.
    pub fn lifetime(&self) -> u32 {
        self.lifetime
    }

    /// The plugins that ruled, in the profile's order.
    pub fn ruled(&self) -> &[Ruled] {
        &self.ruled
    }

    /// Ids of the policies that permitted it.
    pub fn policies(&self) -> &[Arc<str>] {
        &self.permit.policies
    }
}

#[cfg(test)]
#[path = "permit_tests.rs"]
mod tests;
