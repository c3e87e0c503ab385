use super::*;
use proptest::prelude::*;

pub(crate) fn draft() -> Draft<'static> {
    Draft {
        outcome: Outcome::Signed,
        caller: "oidc:https://ci.example#repo:acme/web".into(),
        tenant: "000000000001".into(),
        profile: Some("bench".into()),
        key: Some("5e0f6c0a-98a5-4be5-9d1f-6c3a2b9f5a01".into()),
        kid: Some("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs".into()),
        digest: Some([7; 32]),
        policies: vec!["allow-ci".to_owned()].into(),
        plugins: vec![Verdict {
            plugin: "claim-guard".into(),
            component: Some([9; 32]),
            outcome: VerdictOutcome::Allowed,
        }],
        request_id: Uuid::from_u128(42),
        trace_id: Some(TraceId([1; 16])),
        time_ms: 1_790_000_000_123,
    }
}

pub(crate) fn record(event: Event) -> Record {
    Record {
        version: VERSION,
        edge: "edge-1".into(),
        incarnation: "i1".into(),
        sequence: 9,
        previous: [3; 32],
        event,
    }
}

fn composed(draft: &Draft<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_head(&mut bytes, "edge-1", "i1", 9, &[3; 32]).unwrap();
    bytes.extend(encode_use(draft).unwrap());
    bytes
}

#[test]
fn head_and_event_make_the_record() {
    let whole = record(Event::Use(draft()));
    assert_eq!(whole.encode().unwrap(), composed(&draft()));
    assert_eq!(Record::decode(&composed(&draft())).unwrap(), whole);
}

#[test]
fn the_event_of_a_breaker_makes_a_record_too() {
    let event = Event::Breaker(Breaker {
        time_ms: 5,
        plugin: "claim-guard".into(),
        component: [9; 32],
        change: BreakerChange::Closed,
    });
    let mut bytes = Vec::new();
    encode_head(&mut bytes, "edge-1", "i1", 9, &[3; 32]).unwrap();
    bytes.extend(encode(&event).unwrap());
    assert_eq!(Record::decode(&bytes).unwrap(), record(event));
}

#[test]
fn any_flipped_bit_changes_the_hash() {
    let bytes = composed(&draft());
    let hash = hash_encoded(&bytes);
    for bit in 0..bytes.len() * 8 {
        let mut other = bytes.clone();
        other[bit / 8] ^= 1 << (bit % 8);
        assert_ne!(hash_encoded(&other), hash);
    }
}

#[test]
fn left_over_bytes_and_other_versions_are_no_record() {
    let mut longer = composed(&draft());
    longer.push(0);
    assert_eq!(Record::decode(&longer), Err(RecordError::Malformed));
    let mut newer = composed(&draft());
    newer[0] = 2;
    assert_eq!(Record::decode(&newer), Err(RecordError::Malformed));
    assert_eq!(Record::decode(&[]), Err(RecordError::Malformed));
}

#[test]
fn an_overlong_draft_is_refused() {
    let mut long = draft();
    long.caller = "x".repeat(MAX_BYTES).into();
    assert_eq!(encode_use(&long), Err(RecordError::TooLong));
    long.caller = "x".repeat(MAX_EVENT - 400).into();
    assert!(encode_use(&long).is_ok());
}

#[test]
fn trace_ids() {
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = |text: &str| TraceId::from_traceparent(text).map(|id| id.to_string());
    assert_eq!(parent(&format!("00-{id}-00f067aa0ba902b7-01")).as_deref(), Some(id));
    for bad in [
        "",
        "00",
        id,
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "ff-x-y-z",
        "00-+bf9-00f0-01",
    ] {
        assert_eq!(parent(bad), None, "{bad}");
    }
    assert!("+bf92f3577b34da6a3ce929d0e0e4736".parse::<TraceId>().is_err());
    assert!("4BF92F3577B34DA6A3CE929D0E0E4736".parse::<TraceId>().is_err());
}

proptest! {
    #[test]
    fn decoding_anything_returns(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(record) = Record::decode(&bytes) {
            let canonical = record.encode().unwrap();
            prop_assert_eq!(Record::decode(&canonical).unwrap(), record);
        }
    }
}
