//! Signatures for edges over the wire: what is on record of them, and what becomes of them where the HSM is busy, the key is stopped
//! meanwhile, or nothing can be recorded.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use node::contract::sign_in_hsm_request::Input;
use node::contract::{FAULT_CODE, SignInHsmRequest, SignInHsmResponse};
use signing::key::PublicKey;
use tonic::Status;
use uuid::Uuid;

use super::*;
use crate::hsm::queue::Queued;
use crate::hsm::software::Software;
use crate::hsm::{self, Verified};
use crate::names::Tenant;
use crate::store::RedbStore;

const CALLER: &str = "oidc:https://ci.example#repo:acme/shop";

/// An authority whose HSM has one session, and an artifact key of it that no edge holds.
struct Kept {
    site: Site,
    hsm: Arc<Queued<Verified<Software>>>,
    node: Node,
    key: Value,
}

impl Kept {
    async fn start(custody: &str) -> Kept {
        let dir = TempDir::new().unwrap();
        let software = hsm::testing::software(dir.path()).await;
        let hsm = Arc::new(Queued::new(Verified::new(software), 1));
        let store = Arc::new(RedbStore::open(dir.path().join("store.redb")).unwrap());
        let site = start_on(dir, Parts::new(hsm.clone(), store, Clock::system())).await;
        site.furnish().await;
        let tags = [("family", "artifact"), ("delegation", "none"), ("custody", custody)];
        let tags = tags.map(|(name, value)| json!({"TagKey": format!("signet:{name}"), "TagValue": value}));
        let body = json!({"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY", "Tags": tags});
        let made = site.verb("CreateKey", body).await;
        let id = &made["KeyMetadata"]["KeyId"];
        site.verb("CreateAlias", json!({"AliasName": "alias/release", "TargetKeyId": id}))
            .await;
        let key = site.verb("DescribeKey", json!({"KeyId": id})).await["KeyMetadata"].clone();
        let node = site.enroll("edge-1").await;
        Kept { site, hsm, node, key }
    }

    fn request(&self) -> SignInHsmRequest {
        SignInHsmRequest {
            key_id: self.key["KeyId"].as_str().unwrap().to_owned(),
            kid: self.key["Signet"]["Versions"][0]["Kid"].as_str().unwrap().to_owned(),
            input: Some(Input::Message(b"firmware".to_vec())),
            profile: "release".into(),
            incarnation: INCARNATION.into(),
            request_id: Uuid::new_v4().to_string(),
            caller: CALLER.into(),
        }
    }

    /// Asks without waiting.
    fn ask(&self, request: &SignInHsmRequest) -> JoinHandle<Result<SignInHsmResponse, Status>> {
        let (mut client, request) = (self.site.client(Some(&self.node)), request.clone());
        tokio::spawn(async move { client.sign_in_hsm(request).await.map(tonic::Response::into_inner) })
    }

    async fn sign(&self, request: &SignInHsmRequest) -> Result<SignInHsmResponse, Status> {
        self.ask(request).await.unwrap()
    }

    /// Until the HSM is asked to sign.
    async fn reaches_the_hsm(&self) {
        let tenant = Tenant::parse(TENANT).unwrap();
        let asked = async {
            while !self.hsm.is_asked_by(&tenant) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), asked).await.unwrap();
    }

    /// What is on record of a request.
    async fn record(&self, request: &SignInHsmRequest) -> Value {
        let records = self.site.records(&format!("request={}", request.request_id)).await;
        assert_eq!(records.len(), 1, "{records:?}");
        records[0].clone()
    }
}

fn code(answer: Result<SignInHsmResponse, Status>) -> (Code, String) {
    let status = answer.unwrap_err();
    let code = status.metadata().get(FAULT_CODE).unwrap().to_str().unwrap().to_owned();
    (status.code(), code)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asked_an_edge_is_on_record_as_the_edges_word() {
    let kept = Kept::start("token").await;
    let asked = kept.request();
    let signed = kept.sign(&asked).await.unwrap();
    let public = kept.site.verb("GetPublicKey", json!({"KeyId": asked.key_id})).await;
    let spki = STANDARD.decode(public["PublicKey"].as_str().unwrap()).unwrap();
    PublicKey::from_spki_der(&spki)
        .unwrap()
        .verify(b"firmware", &signed.signature)
        .unwrap();
    let record = kept.record(&asked).await;
    assert_eq!(record["outcome"], "performed", "{record}");
    assert_eq!(record["caller"], "edge:edge-1");
    assert_eq!(record["policies"], json!(["edges-get-keys", format!("for:{CALLER}")]));

    // However much it says, a record stays small.
    let talkative = SignInHsmRequest {
        caller: "x".repeat(20_000),
        ..kept.request()
    };
    kept.sign(&talkative).await.unwrap();
    let record = kept.record(&talkative).await;
    assert_eq!(record["policies"][1], format!("for:{}", "x".repeat(1_024)));
    let silent = SignInHsmRequest {
        caller: String::new(),
        ..kept.request()
    };
    kept.sign(&silent).await.unwrap();
    assert_eq!(kept.record(&silent).await["policies"], json!(["edges-get-keys"]));
}

// R37
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_hsm_is_said_to_be_and_recorded() {
    let kept = Kept::start("token").await;
    let asked = kept.request();
    let held = kept.hsm.hold().await;
    assert_eq!(
        code(kept.sign(&asked).await),
        (Code::ResourceExhausted, "overloaded".into())
    );
    drop(held);
    let record = kept.record(&asked).await;
    assert_eq!(
        (&record["outcome"], &record["code"]),
        (&json!("refused"), &json!("overloaded")),
        "{record}"
    );
    kept.sign(&kept.request()).await.unwrap();
}

// R35
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_stopped_while_the_hsm_signs_signs_nothing() {
    let kept = Kept::start("token").await;
    let asked = kept.request();
    let held = kept.hsm.hold().await;
    let signing = kept.ask(&asked);
    kept.reaches_the_hsm().await;
    kept.site.verb("DisableKey", json!({"KeyId": asked.key_id})).await;
    drop(held);
    let answer = signing.await.unwrap();
    assert_eq!(code(answer), (Code::FailedPrecondition, "key_disabled".into()));
    let record = kept.record(&asked).await;
    assert_eq!(
        (&record["outcome"], &record["code"]),
        (&json!("refused"), &json!("key_disabled")),
        "{record}"
    );
}

// R37
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_that_asks_for_everything_leaves_turns_to_others() {
    let kept = Kept::start("token").await;
    let (id, key) = (kept.key["KeyId"].clone(), kept.request());
    // A key that needs no HSM has the same name for the profile.
    let tags = [("family", "artifact"), ("delegation", "none"), ("custody", "wrapped")];
    let tags = tags.map(|(name, value)| json!({"TagKey": format!("signet:{name}"), "TagValue": value}));
    let body = json!({"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY", "Tags": tags});
    let made = kept.site.verb("CreateKey", body).await["KeyMetadata"]["KeyId"].clone();
    let other = kept.site.verb("DescribeKey", json!({"KeyId": made})).await["KeyMetadata"].clone();
    let node = kept.site.enroll("edge-2").await;
    let hsm = kept.hsm.clone();
    let held = hsm.hold().await;
    let flood: Vec<_> = (0..40).map(|_| kept.ask(&key)).collect();
    kept.reaches_the_hsm().await;
    let renamed = json!({"AliasName": "alias/release", "TargetKeyId": other["KeyId"]});
    kept.site.verb("UpdateAlias", renamed).await;
    let second = Kept {
        node,
        key: other,
        ..kept
    };
    let signed = second.sign(&second.request()).await;
    drop(held);
    signed.unwrap();
    for asked in flood {
        if let Err(status) = asked.await.unwrap() {
            assert!(
                matches!(status.code(), Code::ResourceExhausted | Code::FailedPrecondition),
                "{id}: {status}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_can_be_recorded_nothing_is_signed() {
    let kept = Kept::start("token").await;
    let recorder = kept.site.running.recorder.clone();
    tokio::task::spawn_blocking(move || recorder.close()).await.unwrap();
    // It would be busy if it were asked.
    let _held = kept.hsm.hold().await;
    assert_eq!(
        code(kept.sign(&kept.request()).await),
        (Code::Unavailable, "unavailable".into())
    );
}
