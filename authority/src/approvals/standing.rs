//! The decision, pure: how a request stands with a domain's approvers at a moment (R28).

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use signing::approval::Decision;

use super::record::{Approval, Approver, Given, How, Safeguards};

/// How a request stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It waits.
    Pending {
        /// Approvals that count so far.
        given: usize,
        /// Approvals that it takes.
        needed: usize,
    },
    /// It may be done, once.
    Approved {
        /// The names of those who approved, sorted.
        by: Vec<String>,
    },
    /// It is over.
    Ended(How),
}

impl Standing {
    /// The word in answers.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Pending { .. } => "pending",
            Self::Approved { .. } => "approved",
            Self::Ended(how) => how.as_str(),
        }
    }
}

/// How `approval` stands at `now` (Unix seconds). What was decided counts while its approver is one of the domain's, by the
/// key that it was signed with, and never where that person is the requester. Each signature is verified here, over the
/// request as it is stored: a row that somebody wrote by hand approves nothing.
pub fn standing(safeguards: &Safeguards, approval: &Approval, trust_domain: &str, now: u64) -> Standing {
    if let Some((how, _)) = approval.ended {
        return Standing::Ended(how);
    }
    if now >= approval.expires_at {
        return Standing::Ended(How::Expired);
    }
    let needed = safeguards.required.max(1);
    let (for_it, against) = (
        voices(safeguards, approval, trust_domain, Decision::Approve),
        voices(safeguards, approval, trust_domain, Decision::Reject),
    );
    if distinct(&for_it) >= needed {
        let by: BTreeSet<_> = for_it.iter().map(|approver| approver.name.clone()).collect();
        return Standing::Approved {
            by: by.into_iter().collect(),
        };
    }
    let able = safeguards
        .approvers
        .iter()
        .filter(|approver| !approver.is(&approval.requester) && !against.contains(approver));
    if !against.is_empty() && able.count() < needed {
        return Standing::Ended(How::Rejected);
    }
    Standing::Pending {
        given: distinct(&for_it),
        needed,
    }
}

/// The approvers who validly decided so.
fn voices<'a>(
    safeguards: &'a Safeguards,
    approval: &Approval,
    trust_domain: &str,
    decision: Decision,
) -> Vec<&'a Approver> {
    let message = approval.statement(trust_domain).message(decision);
    let approvers = safeguards.approvers.iter();
    approvers
        .filter(|approver| !approver.is(&approval.requester))
        .filter(|approver| {
            let own = |given: &&Given| given.approver == approver.name && given.kid == approver.kid;
            // The first decision of an approver is the only one.
            let given = approval.given.iter().find(own);
            given.is_some_and(|given| given.decision() == decision && is_signed(approver, &message, given))
        })
        .collect()
}

fn is_signed(approver: &Approver, message: &[u8], given: &Given) -> bool {
    let signature = STANDARD.decode(&given.signature);
    match (approver.key(), signature) {
        (Some(key), Ok(signature)) => key.thumbprint() == approver.kid && key.verify(message, &signature).is_ok(),
        _ => false,
    }
}

/// How many people that is at least: one person may have two names or one key two entries, were a row ever made so.
fn distinct(approvers: &[&Approver]) -> usize {
    let names: BTreeSet<_> = approvers.iter().map(|approver| &approver.name).collect();
    let keys: BTreeSet<_> = approvers.iter().map(|approver| &approver.kid).collect();
    names.len().min(keys.len())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::{LazyLock, Mutex};

    use proptest::prelude::*;
    use signing::algorithm::Algorithm;
    use signing::key::SigningKey;

    use super::*;
    use crate::approvals::record::Domain;

    const TRUST_DOMAIN: &str = "example.org";
    const REQUESTER: &str = "arn:aws:iam::000000000001:user/ada";

    /// Four people's keys, of both kinds.
    static KEYS: LazyLock<Vec<SigningKey>> = LazyLock::new(|| {
        let of = |index: usize| match index % 2 {
            0 => Algorithm::EdDsa,
            _ => Algorithm::Es256,
        };
        (0..4).map(|index| SigningKey::generate(of(index)).unwrap()).collect()
    });

    /// By key and message.
    type Signatures = HashMap<(usize, Vec<u8>), Vec<u8>>;

    static SIGNATURES: LazyLock<Mutex<Signatures>> = LazyLock::new(Mutex::default);

    fn approver(name: usize, key: usize, is_requester: bool) -> Approver {
        let public = KEYS[key].public().unwrap();
        Approver {
            name: format!("person-{name}"),
            kid: public.thumbprint().to_owned(),
            public_key: STANDARD.encode(public.to_spki_der()),
            principals: is_requester.then(|| REQUESTER.to_owned()).into_iter().collect(),
            added_at: 0,
        }
    }

    fn request() -> Approval {
        Approval {
            id: "apr-000000000001-00000000000000000000000000000000".into(),
            domain: Domain::parse("000000000001").unwrap(),
            region: "local".into(),
            operation: "ScheduleKeyDeletion".into(),
            resource: "arn:aws:kms:local:000000000001:key/x".into(),
            parameters: "{}".into(),
            requester: REQUESTER.into(),
            created_at: 100,
            expires_at: 200,
            given: Vec::new(),
            ended: None,
        }
    }

    /// How a decision came to be.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Made {
        Well,
        /// The signature is over the other decision, another request, or has a flipped bit.
        OtherDecision,
        OtherRequest,
        Flipped,
    }

    fn give(approval: &mut Approval, approver: &Approver, key: usize, decision: Decision, made: Made) {
        let mut signed = approval.clone();
        let mut of = decision;
        match made {
            Made::OtherRequest => signed.parameters = r#"{"PendingWindowInDays":7}"#.into(),
            Made::OtherDecision if decision == Decision::Approve => of = Decision::Reject,
            Made::OtherDecision => of = Decision::Approve,
            _ => {}
        }
        let message = signed.statement(TRUST_DOMAIN).message(of);
        // What is signed does not depend on who decided before, so each signature is made once.
        let mut made_before = SIGNATURES.lock().unwrap();
        let mut signature = made_before
            .entry((key, message.clone()))
            .or_insert_with(|| KEYS[key].sign(&message).unwrap())
            .clone();
        if made == Made::Flipped {
            signature[5] ^= 1;
        }
        approval.given.push(Given {
            approver: approver.name.clone(),
            kid: approver.kid.clone(),
            approves: decision == Decision::Approve,
            signature: STANDARD.encode(signature),
            at: 150,
        });
    }

    fn stand(safeguards: &Safeguards, approval: &Approval) -> Standing {
        standing(safeguards, approval, TRUST_DOMAIN, 150)
    }

    fn quorum(required: usize, approvers: Vec<Approver>) -> Safeguards {
        Safeguards {
            required,
            approvers,
            ..Safeguards::default()
        }
    }

    fn approved(names: &[&str]) -> Standing {
        Standing::Approved {
            by: names.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    // R28
    #[test]
    fn the_same_approver_twice_counts_once() {
        let people: Vec<_> = (0..3).map(|index| approver(index, index, false)).collect();
        let two = quorum(2, people.clone());
        let mut approval = request();
        give(&mut approval, &people[0], 0, Decision::Approve, Made::Well);
        give(&mut approval, &people[0], 0, Decision::Approve, Made::Well);
        assert_eq!(stand(&two, &approval), Standing::Pending { given: 1, needed: 2 });
        give(&mut approval, &people[1], 1, Decision::Approve, Made::Well);
        assert_eq!(stand(&two, &approval), approved(&["person-0", "person-1"]));
        assert_eq!(
            standing(&two, &approval, "elsewhere.example", 150),
            Standing::Pending { given: 0, needed: 2 },
            "an approval counts at one authority"
        );
    }

    // R28: approvals expire.
    #[test]
    fn at_its_end_a_request_has_ended_however_many_approved() {
        let people: Vec<_> = (0..2).map(|index| approver(index, index, false)).collect();
        let mut approval = request();
        for (index, person) in people.iter().enumerate() {
            give(&mut approval, person, index, Decision::Approve, Made::Well);
        }
        let safeguards = quorum(2, people);
        assert!(matches!(
            standing(&safeguards, &approval, TRUST_DOMAIN, 199),
            Standing::Approved { .. }
        ));
        for now in [200, 201, u64::MAX] {
            let stands = standing(&safeguards, &approval, TRUST_DOMAIN, now);
            assert_eq!(stands, Standing::Ended(How::Expired));
        }
        approval.ended = Some((How::Executed, 160));
        assert_eq!(stand(&safeguards, &approval), Standing::Ended(How::Executed));
    }

    #[test]
    fn a_request_is_rejected_when_the_quorum_is_out_of_reach_and_not_before() {
        let people: Vec<_> = (0..3).map(|index| approver(index, index, false)).collect();
        let mut approval = request();
        give(&mut approval, &people[0], 0, Decision::Reject, Made::Well);
        let pending = Standing::Pending { given: 0, needed: 2 };
        assert_eq!(stand(&quorum(2, people.clone()), &approval), pending);
        assert_eq!(
            stand(&quorum(3, people.clone()), &approval),
            Standing::Ended(How::Rejected)
        );
        give(&mut approval, &people[1], 1, Decision::Reject, Made::Well);
        assert_eq!(stand(&quorum(2, people), &approval), Standing::Ended(How::Rejected));
    }

    #[derive(Clone, Debug)]
    struct Voice {
        person: usize,
        approves: bool,
        made: Made,
    }

    prop_compose! {
        fn voice()(
            person in 0usize..4,
            approves in prop::bool::weighted(0.8),
            made in prop_oneof![4 => Just(Made::Well), 1 => Just(Made::OtherDecision), 1 => Just(Made::OtherRequest), 1 => Just(Made::Flipped)],
        ) -> Voice {
            Voice { person, approves, made }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        // R28: a quorum counts distinct approvers and never the requester.
        #[test]
        fn approved_means_that_k_others_validly_said_so(
            required in 1usize..4,
            // Which key each of four names has, and whether that person is the requester; some are not registered.
            people in prop::collection::vec((0usize..4, prop::bool::weighted(0.2), prop::bool::weighted(0.8)), 4),
            voices in prop::collection::vec(voice(), 0..8),
        ) {
            let named: Vec<_> = people.iter().enumerate().map(|(name, (key, own, _))| approver(name, *key, *own)).collect();
            let registered = named.iter().zip(&people).filter(|(_, (_, _, registered))| *registered);
            let safeguards = quorum(required, registered.map(|(approver, _)| approver.clone()).collect());
            let mut approval = request();
            for voice in &voices {
                let decision = if voice.approves { Decision::Approve } else { Decision::Reject };
                give(&mut approval, &named[voice.person], people[voice.person].0, decision, voice.made);
            }
            // Said again, in other words: of each registered person who is not the requester, the first voice.
            let good = (0..4).filter(|person| {
                let first = voices.iter().find(|voice| voice.person == *person);
                let (_, own, registered) = people[*person];
                registered && !own && first.is_some_and(|voice| voice.approves && voice.made == Made::Well)
            });
            let keys: BTreeSet<usize> = good.map(|person| people[person].0).collect();
            let is_approved = matches!(stand(&safeguards, &approval), Standing::Approved { .. });
            prop_assert_eq!(is_approved, keys.len() >= required);
        }
    }
}
