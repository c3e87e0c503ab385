//! What edges report, and what comes of it.

use super::*;

pub(super) fn figures(calls: u64, failed: u64, stopped: Option<&str>) -> Figures {
    let (mut figures, thresholds) = (Figures::default(), Thresholds::default());
    for call in 0..calls {
        let answer = match call < failed {
            true => Answer::Failed("trap"),
            false => Answer::Refused("no".into()),
        };
        figures.candidate.count(&answer, 20, &thresholds);
    }
    figures.stopped = stopped.map(str::to_owned);
    figures
}

pub(super) fn report(rollouts: &Rollouts, (edge, incarnation): (&str, &str), id: &str, figures: &Figures) {
    let report = RolloutReport {
        id: id.to_owned(),
        figures: serde_json::to_vec(figures).unwrap(),
    };
    rollouts.report(edge, incarnation, report);
}

#[tokio::test]
async fn what_has_judged_nothing_becomes_the_bundles_only_where_that_is_said() {
    let bench = bench().await;
    let rollouts = &bench.wired.rollouts;
    let promote = async |percent, untried| {
        let promoted = rollouts
            .promote("guard", Promotion { percent, untried }, "operator:test")
            .await;
        promoted.map(|promoted| promoted.unwrap().stage)
    };
    let rollout = started(&bench).await;
    assert_eq!(
        promote(Some(50), false).await,
        Ok(Stage::Canary { percent: 50 }),
        "not the last"
    );
    // By name, and as the next step.
    for percent in [Some(100), None] {
        let refused = promote(percent, false).await.unwrap_err();
        assert_eq!((refused.code(), refused.problem().code()), ("untried", "untried"));
        assert!(
            refused.to_string().contains("no call of the new version of `guard`"),
            "{refused}"
        );
    }
    let seen = &rollouts.list().await.unwrap()[0];
    assert_eq!(seen.rollout.stage, Stage::Canary { percent: 50 }, "nothing was changed");
    // What is known of another rollout says nothing about this one.
    report(rollouts, ("a", "1"), "another", &figures(5, 0, None));
    report(rollouts, ("a", "1"), &rollout.id, &figures(0, 0, None));
    assert_eq!(promote(None, false).await.unwrap_err().code(), "untried");
    report(rollouts, ("a", "1"), &rollout.id, &figures(1, 0, None));
    assert_eq!(promote(None, false).await, Ok(Stage::Enforced));
    bench.settle().await;
    let back = rollouts.start(guard(GUARD), false).await.unwrap().unwrap();
    assert_ne!(back.rollout.id, rollout.id);
    assert_eq!(promote(Some(100), false).await.unwrap_err().code(), "untried");
    assert_eq!(promote(Some(100), true).await, Ok(Stage::Enforced));
    let over = promote(None, false).await.unwrap_err();
    assert!(over.to_string().contains("is over (enforced)"), "{over}");
}

// R31
#[tokio::test]
async fn what_edges_report_ends_a_broken_version_for_all() {
    let bench = bench().await;
    let admin = bench.admin().await;
    let rollouts = &bench.wired.rollouts;
    for (reports, why) in [
        // Each of them too few to be sure of.
        (
            vec![(("a", "1"), figures(40, 1, None)), (("b", "1"), figures(40, 1, None))],
            "of all edges together, 2 of 80 calls failed; of 100, at most 1 may (1%)",
        ),
        // An edge's process before, and the one now.
        (
            vec![(("a", "1"), figures(40, 1, None)), (("a", "2"), figures(10, 1, None))],
            "of all edges together, 2 of 50 calls failed; of 100, at most 1 may (1%)",
        ),
        (
            vec![
                (("a", "1"), figures(1000, 0, None)),
                (("b", "1"), figures(3, 2, Some("2 of 3 calls failed"))),
            ],
            "the edge `b` stopped it: 2 of 3 calls failed",
        ),
    ] {
        let rollout = started(&bench).await;
        let (last, first) = reports.split_last().unwrap();
        for (who, figures) in first {
            report(rollouts, *who, &rollout.id, figures);
            rollouts.end_broken(&admin.recorder).await.unwrap();
        }
        // Said twice, as on each new stream, it counts once.
        report(rollouts, first[0].0, &rollout.id, &first[0].1);
        let seen = &rollouts.list().await.unwrap()[0];
        assert!(seen.rollout.stage.is_running(), "{:?}", seen.rollout);
        report(rollouts, last.0, &rollout.id, &last.1);
        rollouts.end_broken(&admin.recorder).await.unwrap();
        bench.settle().await;
        let seen = &rollouts.list().await.unwrap()[0];
        assert_eq!(seen.rollout.stage, Stage::Aborted { reason: why.to_owned() });
        assert_eq!(seen.rollout.changed_by, "signet");
        let expected = reports
            .iter()
            .map(|(_, figures)| figures.candidate.total())
            .sum::<u64>();
        assert_eq!(seen.figures.candidate.total(), expected, "as it was when it ended");
        let told = told(&bench).rollouts;
        assert!(told[0].aborted && told[0].component.is_empty());
        rollouts.end_broken(&admin.recorder).await.unwrap();
    }
    close(&admin).await;
    let records = records(&bench);
    assert_eq!(records.len(), 3, "once each: {records:?}");
    for record in records {
        assert_eq!(
            (&record["profile"], &record["caller"]),
            (&json!("admin:AbortRollout"), &json!("signet"))
        );
        assert_eq!(
            (&record["key"], &record["outcome"]),
            (&json!("guard"), &json!("performed"))
        );
    }
}

#[tokio::test]
async fn reports_about_nothing_or_without_bounds_are_not_kept() {
    let bench = bench().await;
    let rollout = started(&bench).await;
    let rollouts = &bench.wired.rollouts;
    report(rollouts, ("a", "1"), "another", &figures(5, 5, Some("x")));
    report(
        rollouts,
        ("a", "1"),
        &rollout.id,
        &figures(5, 0, Some(&"x".repeat(2000))),
    );
    for text in [b"{}".to_vec(), b"[".to_vec(), vec![b' '; 1 << 20]] {
        let id = rollout.id.clone();
        rollouts.report("a", "1", RolloutReport { id, figures: text });
    }
    let seen = &rollouts.list().await.unwrap()[0];
    assert_eq!(
        (seen.figures.candidate.counts(), seen.edges.len()),
        (Counts::default(), 0)
    );
}
