//! Batches: each element is judged by itself.

use serde_json::{Value, json};
use system_tests::Dev;

#[test]
fn one_bad_element_leaves_the_others_alone() {
    let dev = Dev::start();
    let body = json!({"requests": [{"subject": "alice"}, {"subject": "root"}, {"subject": 7}, {"subject": "bob", "lifetime": 60}]});
    let answer = dev.curl("/v1/tokens/api/batch").post(&body.to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = answer.json();
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), 4);
    assert!(
        results[0]["token"].is_string() && results[3]["token"].is_string(),
        "{results:?}"
    );
    assert_eq!(results[1]["code"], "policy_denied");
    assert_eq!(results[2]["code"], "bad_request");
    assert_ne!(results[0]["id"], results[3]["id"]);
}

#[test]
fn a_thousand_at_once_and_not_one_more() {
    let dev = Dev::start();
    let requests: Vec<Value> = (0..1000).map(|n| json!({"subject": format!("user-{n}")})).collect();
    let answer = dev
        .curl("/v1/tokens/load/batch")
        .post(&json!({"requests": requests}).to_string());
    assert_eq!(answer.status, 200, "{}", answer.head);
    let answer = answer.json();
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), 1000);
    assert!(results.iter().all(|result| result["token"].is_string()));
    let more: Vec<Value> = (0..1001).map(|n| json!({"subject": n.to_string()})).collect();
    let answer = dev
        .curl("/v1/tokens/load/batch")
        .post(&json!({"requests": more}).to_string());
    assert_eq!((answer.status, answer.problem().as_str()), (422, "invalid_request"));
    let digests: Vec<Value> = (0..10).map(|n| json!({"digest": format!("sha256:{n:064x}")})).collect();
    let answer = dev
        .curl("/v1/signatures/release/batch")
        .post(&json!({"requests": digests}).to_string())
        .json();
    assert!(
        answer["results"]
            .as_array()
            .unwrap()
            .iter()
            .all(|result| result["signature"].is_string()),
        "{answer}"
    );
}
