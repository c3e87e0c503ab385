//! The whole way in memory: a key verb that waits, people who approve, and the retry.

use serde_json::{Value, json};
use signing::algorithm::Algorithm;
use signing::approval::Decision;
use signing::certificate::pem_encode;
use signing::key::SigningKey;

use super::*;
use crate::backup;
use crate::keys::KmsErrorType;
use crate::testing::{Bench, TENANT};

struct Person {
    name: &'static str,
    key: SigningKey,
}

struct Site {
    bench: Bench,
    domain: Domain,
    people: Vec<Person>,
}

impl Site {
    /// A tenant whose quorum is `required` of ada, bob and cleo; ada is also the user `ada`.
    async fn new(required: usize) -> Self {
        Self::of(Domain::parse(TENANT).unwrap(), required).await
    }

    /// The same of another domain.
    async fn of(domain: Domain, required: usize) -> Self {
        let site = Self {
            bench: Bench::new().await,
            domain,
            people: vec![
                person("ada", Algorithm::EdDsa),
                person("bob", Algorithm::Es256),
                person("cleo", Algorithm::EdDsa),
            ],
        };
        for person in &site.people {
            site.change(&site.add(person)).await.unwrap();
        }
        let quorum = SafeguardChange::Quorum {
            required,
            lifetime: 3600,
        };
        site.change(&quorum).await.unwrap();
        site
    }

    fn approvals(&self) -> &Approvals {
        self.bench.wired.keys.approvals()
    }

    fn add(&self, person: &Person) -> SafeguardChange {
        let pem = pem_encode("PUBLIC KEY", person.key.public().unwrap().to_spki_der());
        let principals = match person.name {
            "ada" => vec![format!("arn:aws:iam::{TENANT}:user/ada")],
            _ => Vec::new(),
        };
        SafeguardChange::add(person.name, &pem, principals, self.bench.now()).unwrap()
    }

    async fn change(&self, change: &SafeguardChange) -> Result<Safeguards, Fault> {
        let changed = self.approvals().change(&self.domain, change, "operator:root").await;
        Ok(changed?.0)
    }

    async fn decide(&self, id: &str, name: &str, decision: Decision) -> Result<Standing, Fault> {
        let approval = self.approvals().get(id).await?;
        let key = &self.people.iter().find(|person| person.name == name).unwrap().key;
        let signature = key.sign(&approval.statement("example.org").message(decision)).unwrap();
        let voice = self.approvals().hear(id, key.kid(), decision, &signature).await?;
        Ok(self.approvals().count(voice).await?.1)
    }

    async fn approve(&self, id: &str, names: &[&str]) {
        for name in names {
            self.decide(id, name, Decision::Approve).await.unwrap();
        }
    }

    async fn state(&self, key: &str) -> String {
        let described = self.bench.verb("DescribeKey", json!({"KeyId": key})).await.unwrap();
        described["KeyMetadata"]["KeyState"].as_str().unwrap().to_owned()
    }

    /// The id of the request that a refused verb names.
    async fn waits(&self, user: &str, verb: &str, body: Value) -> String {
        let refused = match user {
            "operator" => self.bench.verb(verb, body).await.unwrap_err(),
            user => self.bench.verb_as(user, verb, body).await.unwrap_err(),
        };
        assert_eq!(refused.kind, KmsErrorType::AccessDenied, "{refused}");
        named(&refused.message)
    }
}

fn person(name: &'static str, algorithm: Algorithm) -> Person {
    let key = SigningKey::generate(algorithm).unwrap();
    Person { name, key }
}

fn named(message: &str) -> String {
    let id = message.split('`').find(|part| Approval::domain_of(part).is_some());
    id.unwrap_or_else(|| panic!("no id in {message}")).to_owned()
}

// R28
#[tokio::test]
async fn what_k_others_approved_happens_once() {
    let site = Site::new(2).await;
    let key = site.bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let body = json!({"KeyId": key, "PendingWindowInDays": 7});
    let id = site.waits("root", "ScheduleKeyDeletion", body.clone()).await;
    assert_eq!(
        site.waits("root", "ScheduleKeyDeletion", body.clone()).await,
        id,
        "asked once"
    );
    assert_eq!(site.state(&key).await, "Enabled");
    let pending = Standing::Pending { given: 1, needed: 2 };
    assert_eq!(site.decide(&id, "ada", Decision::Approve).await.unwrap(), pending);
    assert_eq!(site.waits("root", "ScheduleKeyDeletion", body.clone()).await, id);
    site.approve(&id, &["bob"]).await;
    // Nothing happens by itself, nor for another or in another form.
    assert_eq!(site.state(&key).await, "Enabled");
    let other = json!({"KeyId": key, "PendingWindowInDays": 8});
    assert_ne!(site.waits("root", "ScheduleKeyDeletion", other).await, id);
    assert_ne!(site.waits("operator", "ScheduleKeyDeletion", body.clone()).await, id);
    let done = site
        .bench
        .verb_as("root", "ScheduleKeyDeletion", body.clone())
        .await
        .unwrap();
    assert_eq!(done["KeyState"], "PendingDeletion");
    let spent = site.approvals().get(&id).await.unwrap();
    assert_eq!(spent.ended, Some((How::Executed, site.bench.now())));
    // The approval is used up; and stopping never needed one.
    site.bench
        .verb("CancelKeyDeletion", json!({"KeyId": key}))
        .await
        .unwrap();
    assert_ne!(site.waits("root", "ScheduleKeyDeletion", body).await, id);
    site.bench.verb("EnableKey", json!({"KeyId": key})).await.unwrap();
    site.bench.verb("DisableKey", json!({"KeyId": key})).await.unwrap();
}

// R28
#[tokio::test]
async fn nobody_approves_what_they_asked_for_or_twice() {
    let site = Site::new(1).await;
    let key = site.bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let everything = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*"}]})
    .to_string();
    let put = json!({"KeyId": key, "Policy": everything});
    let by_operator = site.waits("operator", "PutKeyPolicy", put.clone()).await;
    site.approve(&by_operator, &["ada"]).await;
    site.bench.verb("PutKeyPolicy", put).await.unwrap();
    let id = site.waits("ada", "ScheduleKeyDeletion", json!({"KeyId": key})).await;
    let own = site.decide(&id, "ada", Decision::Approve).await;
    assert!(matches!(own, Err(Fault::Denied { code: "forbidden", .. })), "{own:?}");
    let veto = site.decide(&id, "ada", Decision::Reject).await;
    assert!(matches!(veto, Err(Fault::Denied { code: "forbidden", .. })), "{veto:?}");
    site.approve(&id, &["bob"]).await;
    let again = site.decide(&id, "bob", Decision::Approve).await;
    assert!(matches!(again, Err(Fault::State { .. })), "{again:?}");
}

// R28: approvals are over canonical bytes and expire.
#[tokio::test]
async fn wrong_signatures_and_late_ones_count_nothing() {
    let site = Site::new(1).await;
    let key = site.bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let body = json!({"KeyId": key});
    let id = site.waits("root", "ScheduleKeyDeletion", body.clone()).await;
    let approval = site.approvals().get(&id).await.unwrap();
    let bob = &site.people[1].key;
    let good = bob
        .sign(&approval.statement("example.org").message(Decision::Approve))
        .unwrap();
    let elsewhere = bob
        .sign(&approval.statement("example.net").message(Decision::Approve))
        .unwrap();
    let mut flipped = good.clone();
    flipped[10] ^= 1;
    let stranger = SigningKey::generate(Algorithm::EdDsa).unwrap();
    for (kid, decision, signature, code) in [
        (bob.kid(), Decision::Reject, &good, "bad_signature"),
        (bob.kid(), Decision::Approve, &elsewhere, "bad_signature"),
        (bob.kid(), Decision::Approve, &flipped, "bad_signature"),
        (bob.kid(), Decision::Approve, &Vec::new(), "bad_signature"),
        (site.people[0].key.kid(), Decision::Approve, &good, "bad_signature"),
        (stranger.kid(), Decision::Approve, &good, "unknown_key"),
    ] {
        let heard = site.approvals().hear(&id, kid, decision, signature).await;
        assert!(
            matches!(&heard, Err(Fault::Denied { code: found, .. }) if *found == code),
            "{heard:?}"
        );
    }
    assert_eq!(site.approvals().get(&id).await.unwrap(), approval);
    site.bench.pass(3600);
    let late = site.decide(&id, "bob", Decision::Approve).await;
    assert!(matches!(late, Err(Fault::State { .. })), "{late:?}");
    let ended: Vec<_> = site.approvals().expire().await.unwrap();
    assert_eq!(ended.iter().map(|ended| &ended.id).collect::<Vec<_>>(), [&id]);
    assert!(site.approvals().expire().await.unwrap().is_empty(), "told once");
    // Approved, but the retry came too late.
    let next = site.waits("root", "ScheduleKeyDeletion", body.clone()).await;
    assert_ne!(next, id);
    site.approve(&next, &["bob"]).await;
    site.bench.pass(3600);
    assert_ne!(site.waits("root", "ScheduleKeyDeletion", body).await, next);
    assert_eq!(site.state(&key).await, "Enabled");
}

#[tokio::test]
async fn who_was_told_no_waits_before_asking_again() {
    let site = Site::new(2).await;
    let key = site.bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let body = json!({"KeyId": key});
    let id = site.waits("root", "ScheduleKeyDeletion", body.clone()).await;
    let pending = Standing::Pending { given: 0, needed: 2 };
    assert_eq!(site.decide(&id, "ada", Decision::Reject).await.unwrap(), pending);
    let rejected = Standing::Ended(How::Rejected);
    assert_eq!(site.decide(&id, "bob", Decision::Reject).await.unwrap(), rejected);
    assert_eq!(site.waits("root", "ScheduleKeyDeletion", body.clone()).await, id);
    assert!(site.decide(&id, "cleo", Decision::Approve).await.is_err());
    site.bench.pass(3600);
    assert_ne!(site.waits("root", "ScheduleKeyDeletion", body).await, id);
}

#[tokio::test]
async fn approvers_who_decide_at_the_same_time_are_all_counted() {
    let site = Site::new(3).await;
    let key = site.bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let id = site.waits("root", "ScheduleKeyDeletion", json!({"KeyId": key})).await;
    let mut voices = Vec::new();
    for person in &site.people {
        let approval = site.approvals().get(&id).await.unwrap();
        let message = approval.statement("example.org").message(Decision::Approve);
        let signature = person.key.sign(&message).unwrap();
        let heard = site
            .approvals()
            .hear(&id, person.key.kid(), Decision::Approve, &signature);
        voices.push(heard.await.unwrap());
    }
    // Each was heard before any was counted.
    let mut stands = Vec::new();
    for voice in voices {
        stands.push(site.approvals().count(voice).await.unwrap().1.as_str());
    }
    assert_eq!(stands, ["pending", "pending", "approved"]);
}

// R28: who may approve is itself under the quorum.
#[tokio::test]
async fn a_quorum_is_changed_by_itself_only() {
    let site = Site::new(2).await;
    let mallory = person("mallory", Algorithm::EdDsa);
    let none = SafeguardChange::Quorum {
        required: 0,
        lifetime: 60,
    };
    let changes = [
        site.add(&mallory),
        SafeguardChange::RemoveApprover("cleo".to_owned()),
        SafeguardChange::DeletionGuard(0),
        none.clone(),
    ];
    for change in &changes {
        let refused = site.change(change).await.unwrap_err();
        assert!(matches!(&refused, Fault::Denied { code: REQUIRED, .. }), "{refused:?}");
    }
    assert_eq!(site.approvals().safeguards(&site.domain).await.unwrap().required, 2);
    let id = named(&site.change(&none).await.unwrap_err().to_string());
    let approval = site.approvals().get(&id).await.unwrap();
    assert_eq!(
        approval.expires_at - approval.created_at,
        86_400,
        "not the setting's hour"
    );
    site.approve(&id, &["bob", "cleo"]).await;
    assert_eq!(site.change(&none).await.unwrap().required, 0);
    // Nobody is asked any more, and what cannot work is refused.
    site.change(&changes[1]).await.unwrap();
    let three = SafeguardChange::Quorum {
        required: 3,
        lifetime: 60,
    };
    assert!(matches!(site.change(&three).await, Err(Fault::State { .. })));
    // An operator who is an approver cannot lock the operators out of changing this.
    let by_ada = site
        .approvals()
        .change(
            &site.domain,
            &SafeguardChange::Quorum {
                required: 2,
                lifetime: 60,
            },
            &format!("arn:aws:iam::{TENANT}:user/ada"),
        )
        .await;
    assert!(matches!(by_ada, Err(Fault::State { .. })), "{by_ada:?}");
    let twice = site.change(&site.add(&site.people[0])).await;
    assert!(matches!(twice, Err(Fault::State { .. })), "{twice:?}");
    let renamed = Person {
        name: "eve",
        key: SigningKey::import(Algorithm::EdDsa, &site.people[0].key.export().unwrap()).unwrap(),
    };
    let same_key = site.change(&site.add(&renamed)).await;
    assert!(matches!(same_key, Err(Fault::State { .. })), "{same_key:?}");
}

#[tokio::test]
async fn a_vanished_approver_counts_no_more() {
    let site = Site::new(2).await;
    let key = site.bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let body = json!({"KeyId": key});
    let id = site.waits("root", "ScheduleKeyDeletion", body.clone()).await;
    site.approve(&id, &["ada", "cleo"]).await;
    let without = SafeguardChange::RemoveApprover("cleo".to_owned());
    let removal = named(&site.change(&without).await.unwrap_err().to_string());
    site.approve(&removal, &["ada", "bob"]).await;
    site.change(&without).await.unwrap();
    assert_eq!(site.waits("root", "ScheduleKeyDeletion", body.clone()).await, id);
    site.approve(&id, &["bob"]).await;
    site.bench.verb_as("root", "ScheduleKeyDeletion", body).await.unwrap();
}

#[tokio::test]
async fn requests_are_sealed_and_bounded() {
    let site = Site::new(1).await;
    let ask = async |requester: &str, operation: &str| -> String {
        let wanted = Wanted {
            domain: &site.domain,
            region: "local",
            operation,
            resource: "a canary resource",
            parameters: Parameters::default(),
            requester,
            lifetime: None,
        };
        site.approvals().demand(&wanted).await.unwrap_err().to_string()
    };
    let flood = async || {
        for requester in 0..4 {
            for operation in 0..MAX_OF_ONE {
                named(&ask(&format!("operator:{requester}"), &format!("Verb{operation}")).await);
            }
        }
    };
    for operation in 0..MAX_OF_ONE {
        named(&ask("operator:0", &format!("Verb{operation}")).await);
    }
    let full = ask("operator:0", "OneMore").await;
    assert!(full.contains("16 of them yours"), "{full}");
    // A session's name is its maker's choice: all of a role's are one requester.
    let session = |name: usize| format!("arn:aws:sts::{TENANT}:assumed-role/ops/s{name}");
    for name in 0..MAX_OF_ONE {
        named(&ask(&session(name), "Verb").await);
    }
    let full = ask(&session(MAX_OF_ONE), "Verb").await;
    assert!(full.contains("16 of them yours"), "{full}");
    named(&ask(&format!("arn:aws:sts::{TENANT}:assumed-role/dev/s0"), "Verb").await);
    site.bench.pass(3600);
    flood().await;
    let full = ask("operator:9", "OneMore").await;
    assert!(full.starts_with("64 requests wait"), "{full}");
    // The ended make room for those that come.
    for round in 0..3 {
        site.bench.pass(3600);
        flood().await;
        assert!(
            site.approvals().list(&site.domain).await.unwrap().len() <= MAX_KEPT,
            "{round}"
        );
    }
    let rows = site.bench.parts.store.scan(paths::APPROVALS, None, 1000).await.unwrap();
    assert!(!rows.is_empty());
    for (path, row) in rows {
        assert!(!row.value.windows(6).any(|window| window == b"canary"), "{path}");
    }
}

// R28: who holds the shares of a backup key comes by the keys of every tenant.
#[tokio::test]
async fn a_backup_key_comes_into_force_when_the_quorum_approved_just_that() {
    let site = Site::of(Domain::Authority, 2).await;
    let vault = &site.bench.wired.vault;
    let made = backup::make_key(3, 2, site.bench.now()).unwrap();
    let other = backup::make_key(3, 2, site.bench.now()).unwrap();
    let set = async |made: &backup::key::Made, secret| {
        let key = (&made.key, secret);
        backup::set_key(vault, site.approvals(), key, "operator:root").await
    };
    let refused = set(&made, &made.authentication).await.unwrap_err();
    assert!(matches!(&refused, Fault::Denied { code: REQUIRED, .. }), "{refused:?}");
    let id = named(&refused.to_string());
    let asked = site.approvals().get(&id).await.unwrap();
    assert_eq!(
        (asked.operation.as_str(), asked.resource),
        ("SetBackupKey", format!("backup-key/{}", made.key.id))
    );
    assert!(asked.parameters.contains(&made.key.public) && asked.parameters.contains(&made.key.commitments[0]));
    let secret = signing::encoding::hex(made.authentication.expose());
    assert!(!asked.parameters.contains(&secret), "its digest only");
    site.approve(&id, &["bob", "cleo"]).await;
    // Another key, or the same with another secret, is another request.
    for refused in [
        set(&other, &other.authentication).await,
        set(&made, &other.authentication).await,
    ] {
        assert_ne!(named(&refused.unwrap_err().to_string()), id);
    }
    assert!(backup::read_key(vault).await.unwrap().is_none());
    let approved = set(&made, &made.authentication).await.unwrap();
    assert_eq!(approved.id(), Some(id.as_str()));
    let (key, secret) = backup::read_key(vault).await.unwrap().unwrap();
    assert!(key == made.key && secret.matches(made.authentication.expose()));
    // Once: to put it back later is to ask again.
    let again = set(&made, &made.authentication).await.unwrap_err();
    assert_ne!(named(&again.to_string()), id);
}

// R28: what is exported is out of this authority's hands.
#[tokio::test]
async fn a_key_goes_to_another_authority_when_the_quorum_approved_that_one() {
    let site = Site::new(1).await;
    let made = site
        .bench
        .verb("CreateKey", json!({"MultiRegion": true}))
        .await
        .unwrap();
    let key = made["KeyMetadata"]["KeyId"].as_str().unwrap();
    let export = async || -> Value {
        let there = Bench::new().await;
        let identity = there.verb("GetReplicaIdentity", json!({})).await.unwrap();
        json!({"KeyId": key, "Recipient": identity["Identity"]})
    };
    let (one, other) = (export().await, export().await);
    let id = site.waits("operator", "ExportReplica", one.clone()).await;
    site.approve(&id, &["bob"]).await;
    assert_ne!(site.waits("operator", "ExportReplica", other).await, id);
    let exported = site.bench.verb("ExportReplica", one.clone()).await.unwrap();
    assert!(exported["Bundle"].is_string());
    let spent = site.approvals().get(&id).await.unwrap();
    assert_eq!(spent.ended, Some((How::Executed, site.bench.now())));
    assert_ne!(site.waits("operator", "ExportReplica", one).await, id);
}
