//! `signet keys`: the key verbs, in KMS's shapes.

use authority::crypto::{KeySpec, KeyUsage};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::approvals::segment;
use crate::client::AdminArgs;
use crate::failure::Failure;
use crate::output;

mod reencrypt;
mod replica;
mod rotations;
mod stop;

/// Create, list, describe, stop and start keys.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  signet keys create --alias alias/api --spec ECC_NIST_P256 --family token --delegation shared
  signet keys create --alias alias/release --spec ECC_NIST_P256 --family artifact --delegation own --custody token
  signet keys create --alias alias/data --spec SYMMETRIC_DEFAULT
  signet keys create --alias alias/vault --spec SYMMETRIC_DEFAULT --custody token
  signet keys create --alias alias/box --spec RSA_3072 --usage ENCRYPT_DECRYPT
  signet keys list
  signet keys describe alias/api
  signet keys create --alias alias/fast --spec ECC_NIST_P256 --family token --delegation shared --lease 5s
  signet keys disable alias/api
  signet keys disable alias/api --wait            returns when no edge can sign with it any more
  signet keys fence alias/api                     whether that is so, and who is still waited for
  signet keys fence --wait alias/api
  signet keys revoke-delegation alias/api --edge edge-fra-1 --wait
  signet keys restore-delegation alias/api --edge edge-fra-1
  signet keys enable alias/api
  signet keys compromised alias/api --reason \"laptop stolen\"
  signet keys compromised alias/api --kid NzbLsXh8uDCc…                      one version only: the next one signs
  signet keys enable alias/api --override \"false alarm\"
  signet keys hold alias/data --reason \"case 17\"
  signet keys unhold alias/data
  signet keys deletion-guard --days 30
  signet keys schedule-deletion alias/api --days 7
  signet keys schedule-deletion alias/api --override \"replaced by alias/api2\"
  signet keys cancel-deletion 86eb4486-2154-40e4-90c2-74c364d7a75e
  signet keys public-key alias/release > release.pub
  signet keys sign alias/raw --message \"$(base64 -w0 message)\"
  signet keys owner alias/data --owner payments --contact payments@example.org
  signet keys rotations alias/data --days 30
  signet keys reencrypt blobs.txt --to alias/data --out moved.txt
  signet keys reencrypt blobs.txt --to alias/data --out moved.txt --resume
  signet keys reencrypt blobs.jsonl --to alias/data --dry-run --json
  signet keys replica-identity > b.json                                      at the authority that imports, and at the other
  signet keys export-replica alias/global --for b.json --out global.bundle
  signet keys import-replica global.bundle --from a.json --region eu-west-1")]
pub struct Keys {
    #[command(subcommand)]
    command: Command,
    /// The tenant, 12 digits.
    #[arg(long, default_value = "000000000001", global = true)]
    tenant: String,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a key, and an alias for it if one is given.
    Create(Create),
    /// List keys with their aliases.
    List,
    /// Everything about a key but its material.
    Describe(Key),
    /// Let a key sign again.
    Enable(Enable),
    /// Stop a key: every connected edge refuses it within a second.
    Disable(stop::Disable),
    /// Whether a stopped key can still be signed with anywhere, and by whom.
    Fence(stop::Fence),
    /// Withdraw a key's delegation from an edge, or from all; `restore-delegation` gives it back.
    RevokeDelegation(stop::Revoke),
    /// Give an edge a key's delegation back; takes the quorum's approval where there is one.
    RestoreDelegation(stop::Delegation),
    /// Mark a key as compromised and disable it, in all its regions; or one version of it. Never waits for approval.
    Compromised(Compromised),
    /// Put a key under legal hold: nothing of it is deleted.
    Hold(Hold),
    /// Lift a legal hold.
    Unhold(Key),
    /// Show or set within how many days of its last use a key is not deleted, for the whole tenant.
    DeletionGuard {
        /// 0 to 3650; 0: no guard.
        #[arg(long)]
        days: Option<u32>,
    },
    /// Delete a key after a waiting time, in which it is stopped.
    ScheduleDeletion(stop::ScheduleDeletion),
    /// Take a scheduled deletion back; the key stays disabled.
    CancelDeletion(Key),
    /// The public key, PEM.
    PublicKey(Key),
    /// Sign a message with a key of family `raw`, at the authority.
    Sign(Sign),
    /// A key's versions, and which share of the decryptions each still has.
    Rotations(rotations::Rotations),
    Reencrypt(reencrypt::Reencrypt),
    /// Name a key's owner and how to reach them.
    Owner(Owner),
    /// Print who this authority is, for the operator of another that is to export keys to it or import its keys.
    ReplicaIdentity,
    /// Seal a multi-Region key with its material for another authority.
    ExportReplica(replica::Export),
    /// Take a multi-Region key of another authority into a region of this one, or its later rotations.
    ImportReplica(replica::Import),
}

#[derive(Debug, Args)]
struct Key {
    /// Key id, key ARN, alias or alias ARN.
    key: String,
}

#[derive(Debug, Args)]
struct Create {
    /// KMS key spec. Edges sign with ECC_NIST_P256, ECC_NIST_P384, ECC_NIST_EDWARDS25519 and HMAC_256.
    #[arg(long, default_value = "ECC_NIST_P256", value_parser = specs())]
    spec: String,
    /// KMS key usage; where a spec has several, its default is to sign.
    #[arg(long, value_parser = usages())]
    usage: Option<String>,
    /// The one thing the key may sign.
    #[arg(long, default_value = "raw", value_parser = ["raw", "token", "artifact"])]
    family: String,
    /// How edges get it.
    #[arg(long, default_value = "none", value_parser = ["none", "own", "shared"])]
    delegation: String,
    /// Where its material lives: sealed in the authority's store, or in the HSM. Without it, where the tenant's keys are kept.
    #[arg(long, value_parser = ["wrapped", "token"])]
    custody: Option<String>,
    /// How long an edge signs without hearing from the authority, 5s to 1h: the longest that stopping the key may take. 60s if
    /// nothing is said.
    #[arg(long, value_name = "TIME")]
    lease: Option<String>,
    /// Make it one that can have replicas in other regions.
    #[arg(long)]
    multi_region: bool,
    /// `alias/NAME`
    #[arg(long)]
    alias: Option<String>,
    /// For people.
    #[arg(long, default_value = "")]
    description: String,
    /// Who answers for the key; without one it is who makes it.
    #[arg(long)]
    owner: Option<String>,
    /// How to reach the owner: free text.
    #[arg(long)]
    contact: Option<String>,
}

#[derive(Debug, Args)]
struct Enable {
    #[command(flatten)]
    key: Key,
    /// Why a key that is marked as compromised may be used again, where there is no quorum.
    #[arg(long = "override", value_name = "REASON")]
    reason: Option<String>,
}

#[derive(Debug, Args)]
struct Compromised {
    #[command(flatten)]
    key: Key,
    /// What happened, in 1 to 256 characters.
    #[arg(long)]
    reason: Option<String>,
    /// Only the version with this kid, as JWKS and `describe` have it: it leaves every JWKS at once, and edges sign with the next one.
    #[arg(long, conflicts_with = "reason")]
    kid: Option<String>,
}

#[derive(Debug, Args)]
struct Hold {
    #[command(flatten)]
    key: Key,
    /// Why, in 1 to 256 characters; whoever tries to delete the key is told.
    #[arg(long)]
    reason: String,
}

#[derive(Debug, Args)]
struct Sign {
    #[command(flatten)]
    key: Key,
    /// The message, base64.
    #[arg(long)]
    message: String,
    /// KMS signing algorithm.
    #[arg(long, default_value = "ECDSA_SHA_256")]
    algorithm: String,
}

#[derive(Debug, Args)]
struct Owner {
    #[command(flatten)]
    key: Key,
    /// Who answers for the key; without one it is who made it.
    #[arg(long, required_unless_present = "contact")]
    owner: Option<String>,
    /// A mail address, a channel, a number: free text.
    #[arg(long)]
    contact: Option<String>,
}

/// Reserved tags, those that have a value.
fn tags(pairs: &[(&str, Option<&String>)]) -> Value {
    let pairs = pairs.iter().filter_map(|(name, value)| Some((name, (*value)?)));
    pairs
        .map(|(name, value)| json!({"TagKey": format!("signet:{name}"), "TagValue": value}))
        .collect()
}

/// The specs that the authority makes keys of.
fn specs() -> PossibleValuesParser {
    KeySpec::ALL.iter().map(|spec| spec.as_str()).into()
}

fn usages() -> PossibleValuesParser {
    KeyUsage::ALL.iter().map(|usage| usage.as_str()).into()
}

/// What a key of a spec is for where nobody says: signing, where it can.
fn usage_of(spec: &str) -> &'static str {
    let usages = KeySpec::parse(spec).map(KeySpec::usages).unwrap_or_default();
    let signs = usages.iter().find(|usage| **usage == KeyUsage::SignVerify);
    signs.or(usages.first()).map_or("SIGN_VERIFY", |usage| usage.as_str())
}

impl Keys {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        match &self.command {
            Command::Create(create) => self.create(create),
            Command::List => self.list(),
            Command::Describe(key) => output::json(&self.verb("DescribeKey", json!({"KeyId": key.key}))?),
            Command::Enable(enable) => {
                let body = json!({"KeyId": enable.key.key});
                self.change("EnableKey", overriding(body, enable.reason.as_deref()), "enabled")
            }
            Command::Disable(disable) => disable.run(&self),
            Command::Fence(fence) => fence.run(&self),
            Command::RevokeDelegation(revoke) => revoke.run(&self),
            Command::RestoreDelegation(delegation) => delegation.restore(&self),
            Command::ScheduleDeletion(deletion) => deletion.run(&self),
            Command::Compromised(Compromised {
                key, kid: Some(kid), ..
            }) => {
                let body = json!({"KeyId": key.key, "Kid": kid});
                self.change(
                    "MarkVersionCompromised",
                    body,
                    "rid of that version, which is marked as compromised",
                )
            }
            Command::Compromised(compromised) => {
                let reason = compromised.reason.as_deref().unwrap_or_default();
                let body = json!({"KeyId": compromised.key.key, "Reason": reason});
                self.change("MarkKeyCompromised", body, "marked as compromised, and disabled")
            }
            Command::Hold(hold) => {
                let body = json!({"KeyId": hold.key.key, "Reason": hold.reason});
                self.change("HoldKey", body, "under legal hold")
            }
            Command::Unhold(key) => self.change("ReleaseKey", json!({"KeyId": key.key}), "under no legal hold"),
            Command::DeletionGuard { days } => self.deletion_guard(*days),
            Command::CancelDeletion(key) => self.change(
                "CancelKeyDeletion",
                json!({"KeyId": key.key}),
                "no longer pending deletion, and disabled",
            ),
            Command::PublicKey(key) => self.public_key(&key.key),
            Command::Sign(sign) => {
                let body = json!({
                    "KeyId": sign.key.key, "Message": sign.message, "MessageType": "RAW", "SigningAlgorithm": sign.algorithm,
                });
                output::json(&self.verb("Sign", body)?)
            }
            Command::Rotations(rotations) => rotations.run(&self.admin, &self.tenant, self.json),
            Command::Reencrypt(reencrypt) => reencrypt.run(&self.admin, self.json),
            Command::Owner(owner) => self.owner(owner),
            Command::ReplicaIdentity => replica::identity(&|verb, body| self.verb(verb, body)),
            Command::ExportReplica(export) => export.run(&|verb, body| self.verb(verb, body), self.json),
            Command::ImportReplica(import) => import.run(&|verb, body| self.verb(verb, body), self.json),
        }
    }

    /// The id of a key that is named in any way.
    fn id(&self, key: &str) -> Result<String, Failure> {
        let described = self.verb("DescribeKey", json!({"KeyId": key}))?;
        let id = described.pointer("/KeyMetadata/KeyId").and_then(Value::as_str);
        Ok(id
            .ok_or_else(|| Failure::new("the authority described no key"))?
            .to_owned())
    }

    fn owner(&self, owner: &Owner) -> Result<(), Failure> {
        let tags = tags(&[("owner", owner.owner.as_ref()), ("contact", owner.contact.as_ref())]);
        self.verb("TagResource", json!({"KeyId": owner.key.key, "Tags": tags}))?;
        let described = self.verb("DescribeKey", json!({"KeyId": owner.key.key}))?;
        if self.json {
            return output::json(&described);
        }
        let signet = |name: &str| {
            let text = described
                .pointer(&format!("/KeyMetadata/Signet/{name}"))
                .and_then(Value::as_str);
            text.filter(|text| !text.is_empty()).unwrap_or("-").to_owned()
        };
        output::line(&format!("owner {}, contact {}", signet("Owner"), signet("Contact")))
    }

    fn deletion_guard(&self, days: Option<u32>) -> Result<(), Failure> {
        let path = format!("/v1/safeguards/{}", segment(&self.tenant)?);
        let answer = match days {
            None => self.admin.call("GET", &path, None)?,
            Some(days) => {
                let path = format!("{path}/deletion-guard");
                self.admin.call("PUT", &path, Some(&json!({"days": days})))?
            }
        };
        if self.json {
            return output::json(&answer);
        }
        match answer.get("deletion_guard_days").and_then(Value::as_u64) {
            None | Some(0) => output::line("no guard: keys are deleted whenever they were used last"),
            Some(days) => output::line(&format!(
                "keys used within {days} days are not deleted without --override"
            )),
        }
    }

    fn verb(&self, verb: &str, body: Value) -> Result<Value, Failure> {
        self.admin
            .call("POST", &format!("/v1/keys/{verb}?tenant={}", self.tenant), Some(&body))
    }

    fn change(&self, verb: &str, body: Value, state: &str) -> Result<(), Failure> {
        let key = body.get("KeyId").and_then(Value::as_str).unwrap_or_default().to_owned();
        let answer = self.verb(verb, body)?;
        if self.json {
            output::json(&answer)
        } else {
            output::line(&format!("{key} is {state}"))
        }
    }

    fn create(&self, create: &Create) -> Result<(), Failure> {
        let usage = match &create.usage {
            Some(usage) => usage,
            None => usage_of(&create.spec),
        };
        let tags = tags(&[
            ("family", Some(&create.family)),
            ("delegation", Some(&create.delegation)),
            ("custody", create.custody.as_ref()),
            ("lease", create.lease.as_ref()),
            ("owner", create.owner.as_ref()),
            ("contact", create.contact.as_ref()),
        ]);
        let body = json!({
            "KeySpec": create.spec, "KeyUsage": usage, "Description": create.description, "Tags": tags,
            "MultiRegion": create.multi_region,
        });
        let answer = self.verb("CreateKey", body)?;
        let id = answer
            .pointer("/KeyMetadata/KeyId")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        if let Some(alias) = &create.alias {
            self.verb("CreateAlias", json!({"AliasName": alias, "TargetKeyId": id}))
                .map_err(|failure| failure.after(&format!("the key {id} was made, its alias was not")))?;
        }
        if self.json {
            output::json(&answer)
        } else {
            output::line(&id)
        }
    }

    fn list(&self) -> Result<(), Failure> {
        let keys = self.pages("ListKeys", "Keys")?;
        let aliases = self.pages("ListAliases", "Aliases")?;
        let mut listed = Vec::new();
        for key in &keys {
            let id = key.get("KeyId").and_then(Value::as_str).unwrap_or_default();
            let described = self.verb("DescribeKey", json!({"KeyId": id}))?;
            let metadata = described.get("KeyMetadata").cloned().unwrap_or_default();
            let names: Vec<_> = aliases
                .iter()
                .filter(|alias| alias.get("TargetKeyId").and_then(Value::as_str) == Some(id))
                .filter_map(|alias| alias.get("AliasName").and_then(Value::as_str))
                .collect();
            listed.push((metadata, names.join(", ")));
        }
        if self.json {
            let keys = listed.into_iter().map(|(mut metadata, aliases)| {
                if let Some(members) = metadata.as_object_mut() {
                    members.insert("Aliases".into(), json!(aliases));
                }
                metadata
            });
            return output::json(&json!({"keys": keys.collect::<Vec<_>>()}));
        }
        let rows = listed.iter().map(|(metadata, aliases)| {
            let cell = |name: &str| metadata.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
            vec![cell("KeyId"), aliases.clone(), cell("KeySpec"), state(metadata)]
        });
        output::table(&["KEY", "ALIASES", "SPEC", "STATE"], &rows.collect::<Vec<_>>())
    }

    /// All pages of a list verb.
    fn pages(&self, verb: &str, member: &str) -> Result<Vec<Value>, Failure> {
        let mut all = Vec::new();
        let mut body = Map::new();
        loop {
            let answer = self.verb(verb, Value::Object(body.clone()))?;
            all.extend(
                answer
                    .get(member)
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                    .cloned(),
            );
            match (
                answer.get("Truncated").and_then(Value::as_bool),
                answer.get("NextMarker"),
            ) {
                (Some(true), Some(marker)) => body.insert("Marker".into(), marker.clone()),
                _ => return Ok(all),
            };
        }
    }

    fn public_key(&self, key: &str) -> Result<(), Failure> {
        use base64::Engine;
        let answer = self.verb("GetPublicKey", json!({"KeyId": key}))?;
        if self.json {
            return output::json(&answer);
        }
        let der = answer.get("PublicKey").and_then(Value::as_str).unwrap_or_default();
        let der = base64::prelude::BASE64_STANDARD.decode(der)?;
        output::text(&signing::certificate::pem_encode("PUBLIC KEY", &der))
    }
}

/// A key's state, and what else is to be known of it before it is counted on: when it is deleted, and what stops it beside its state.
fn state(metadata: &Value) -> String {
    let mut state = metadata
        .get("KeyState")
        .and_then(Value::as_str)
        .unwrap_or("-")
        .to_owned();
    if let Some(at) = metadata.get("DeletionDate").and_then(Value::as_u64) {
        state.push_str(&format!(", at {}", output::time(at)));
    }
    if metadata.pointer("/Signet/Compromised").is_some() {
        state.push_str(", compromised");
    }
    let stops = metadata.pointer("/Signet/StoppedBy").and_then(Value::as_array);
    let stops: Vec<_> = stops.into_iter().flatten().filter_map(Value::as_str).collect();
    if !stops.is_empty() {
        state.push_str(&format!(", stopped by {}", stops.join(" and ")));
    }
    state
}

/// With the reason to go past a safeguard, where there is one.
fn overriding(mut body: Value, reason: Option<&str>) -> Value {
    if let (Some(members), Some(reason)) = (body.as_object_mut(), reason) {
        members.insert("Override".to_owned(), json!(reason));
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usage_is_found_for_every_spec() {
        for spec in KeySpec::ALL {
            let usage = KeyUsage::parse(usage_of(spec.as_str())).unwrap();
            assert!(spec.allows(usage), "{spec}");
        }
        assert_eq!(usage_of("RSA_2048"), "SIGN_VERIFY");
        assert_eq!(usage_of("SYMMETRIC_DEFAULT"), "ENCRYPT_DECRYPT");
    }
}
