//! The requests of cases once more, several in one call, where a rule has `evaluate-batch`: each must be answered as by itself.

use std::collections::{BTreeMap, BTreeSet};

use runtime::{MAX_BATCH, Plugin, Request};

use super::super::case::Case;
use super::super::log::{Listener, Log};
use super::super::outcome::Outcome;
use super::super::runner::Runner;
use super::{ATTEMPTS, Failed, Tested, settings};

/// What was asked together.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batches {
    /// Those whose requests were asked so.
    pub cases: usize,
    /// Of `evaluate-batch`.
    pub calls: usize,
}

/// A request of a case, and what was answered to it by itself.
struct Element<'a> {
    /// Its place among the cases, and its step's among those of the case.
    case: usize,
    step: usize,
    settings: String,
    request: Request<'a>,
    alone: Outcome,
}

/// Judges the cases that have passed again, in batches, with the plugins that were loaded for them. Those in which a call fails are left out:
/// a batch fails as a whole. None if the rule has no `evaluate-batch`.
pub fn judge(
    runner: &Runner,
    loaded: &BTreeMap<String, Plugin>,
    (cases, tested): (&[Case], &mut [Tested]),
    listener: &Listener,
) -> Option<Batches> {
    if !loaded.values().any(Plugin::is_batch) {
        return None;
    }
    let groups = groups(elements(cases, tested));
    let (mut asked, mut calls) = (BTreeSet::new(), 0_usize);
    for chunk in groups.iter().flat_map(|group| chunks(group)) {
        let Some(plugin) = chunk.first().and_then(|first| loaded.get(&first.settings)) else {
            continue;
        };
        calls = calls.saturating_add(1);
        asked.extend(chunk.iter().map(|element| element.case));
        let mut log = Log::default();
        let answers = ask(runner, plugin, chunk, listener, &mut log);
        for (element, actual) in chunk.iter().zip(answers) {
            let several = cases.get(element.case).is_some_and(|case| case.steps.len() > 1);
            let one = tested.get_mut(element.case).filter(|one| one.passed());
            if let Some(one) = one.filter(|_| actual != element.alone) {
                one.log = log.clone();
                one.failed = Some(Failed {
                    place: several.then_some((element.step.saturating_add(1), 1)),
                    batch: Some(chunk.len().max(FEWEST)),
                    expected: element.alone.clone(),
                    actual,
                });
            }
        }
    }
    let cases = asked.len();
    Some(Batches { cases, calls })
}

fn elements<'a>(cases: &'a [Case], tested: &[Tested]) -> Vec<Element<'a>> {
    let mut elements = Vec::new();
    for (case, (read, one)) in cases.iter().zip(tested).enumerate() {
        let fails = |outcome: &Outcome| matches!(outcome, Outcome::Fail { .. });
        if !one.passed() || one.answers.iter().any(fails) {
            continue;
        }
        let mut answers = one.answers.iter();
        for (step, asked) in read.steps.iter().enumerate() {
            let alone = answers.next().cloned();
            elements.extend(alone.map(|alone| Element {
                case,
                step,
                settings: settings(read),
                request: asked.request(),
                alone,
            }));
            let rest = asked.times.saturating_sub(1);
            answers.by_ref().take(rest as usize).for_each(drop);
        }
    }
    elements
}

/// What an edge could ask together: with the same settings and tables, and of one caller for one profile at one time.
fn groups(elements: Vec<Element<'_>>) -> Vec<Vec<Element<'_>>> {
    let mut groups: Vec<Vec<Element<'_>>> = Vec::new();
    for element in elements {
        let is_like = |group: &&mut Vec<Element<'_>>| {
            let first = group.first();
            first.is_some_and(|first| {
                first.settings == element.settings && is_of_one_call(&first.request, &element.request)
            })
        };
        match groups.iter_mut().find(is_like) {
            Some(group) => group.push(element),
            None => groups.push(vec![element]),
        }
    }
    groups
}

/// Whether they differ in what is to be signed alone.
fn is_of_one_call(one: &Request<'_>, other: &Request<'_>) -> bool {
    let other = Request {
        payload: one.payload.clone(),
        request_id: one.request_id,
        ..other.clone()
    };
    *one == other
}

/// In calls of about the same size.
fn chunks<'a, 'b>(group: &'a [Element<'b>]) -> impl Iterator<Item = &'a [Element<'b>]> {
    let calls = group.len().div_ceil(MAX_BATCH).max(1);
    group.chunks(group.len().div_ceil(calls).max(1))
}

/// An edge asks about no fewer.
const FEWEST: usize = 2;

/// An answer to each, which is the same for all where the call fails. One by itself is asked twice in one call.
fn ask(runner: &Runner, plugin: &Plugin, chunk: &[Element<'_>], listener: &Listener, log: &mut Log) -> Vec<Outcome> {
    let each = chunk.iter().cycle().take(chunk.len().max(FEWEST));
    let requests: Vec<_> = each.map(|element| element.request.clone()).collect();
    let mut attempt = || {
        *log = Log::default();
        runner.listen_batch(plugin, &requests, listener, log)
    };
    let mut answered = attempt();
    for _ in 1..ATTEMPTS {
        // As with a case by itself, a busy machine says little about the rule.
        if matches!(&answered, Err(Outcome::Fail { code, .. }) if code == "timeout") {
            answered = attempt();
        }
    }
    match answered {
        Err(failed) => vec![failed; chunk.len()],
        Ok(answers) if chunk.len() < FEWEST => {
            // Both must be like the one by itself.
            let is_unlike = |answer: &&Outcome| chunk.first().is_some_and(|one| one.alone != **answer);
            let told = answers.iter().find(is_unlike).or(answers.first());
            told.cloned().into_iter().collect()
        }
        Ok(answers) => answers,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::case;
    use super::*;

    fn cases(files: &[(&str, &str)]) -> Vec<Case> {
        let dir = tempfile::TempDir::new().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(format!("{name}.toml")), text).unwrap();
        }
        case::read_all(dir.path()).unwrap()
    }

    /// As if each had been answered as it expects.
    fn passed(cases: &[Case]) -> Vec<Tested> {
        let tested = cases.iter().map(|case| {
            let each = case.steps.iter();
            let answers = each.flat_map(|step| std::iter::repeat_n(step.expected.clone(), step.times as usize));
            Tested {
                name: case.name.clone(),
                answers: answers.collect(),
                log: Log::default(),
                failed: None,
            }
        });
        tested.collect()
    }

    const ALLOW: &str = "[expect]\nverdict = \"allow\"\n";

    #[test]
    fn a_step_that_is_repeated_is_asked_once_with_its_own_answer() {
        let step = |times: u32, cap: u32| {
            format!("[[steps]]\ntimes = {times}\n[steps.expect]\nverdict = \"allow\"\nlifetime_cap = {cap}\n")
        };
        let cases = cases(&[("a", &(step(3, 10) + &step(2, 20)))]);
        let elements = elements(&cases, &passed(&cases));
        let alone: Vec<_> = elements.iter().map(|element| (element.step, &element.alone)).collect();
        let expected = |step: usize| (step, &cases[0].steps[step].expected);
        assert_eq!(alone, [expected(0), expected(1)]);
    }

    #[test]
    fn cases_that_failed_or_in_which_a_call_fails_are_left_out() {
        let fails = "[expect]\nverdict = \"fail\"\ncode = \"trap\"\n";
        let cases = cases(&[("a", ALLOW), ("b", fails), ("c", ALLOW)]);
        let mut tested = passed(&cases);
        tested[2].failed = Some(Failed {
            place: None,
            batch: None,
            expected: tested[2].answers[0].clone(),
            actual: tested[0].answers[0].clone(),
        });
        let elements = elements(&cases, &tested);
        assert_eq!(elements.iter().map(|element| element.case).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn only_what_an_edge_could_ask_together_is() {
        let cases = cases(&[
            ("a", &format!("[request.token]\nlifetime = 60\n{ALLOW}")),
            ("b", &format!("[request.caller]\nsubject = \"other\"\n{ALLOW}")),
            ("c", &format!("[request.token]\nlifetime = 90\n{ALLOW}")),
            ("d", &format!("[config]\nlimit = 1\n{ALLOW}")),
            ("e", &format!("[request]\ntime = 60\n{ALLOW}")),
            ("f", &format!("[request]\nprofile = \"other\"\n{ALLOW}")),
        ]);
        let groups = groups(elements(&cases, &passed(&cases)));
        let places: Vec<Vec<_>> = groups
            .iter()
            .map(|group| group.iter().map(|element| element.case).collect())
            .collect();
        assert_eq!(places, [vec![0, 2], vec![1], vec![3], vec![4], vec![5]]);
    }

    #[test]
    fn calls_are_of_about_the_same_size_and_none_is_too_large() {
        for (cases_in_all, sizes) in [(1, vec![1]), (16, vec![16]), (17, vec![9, 8]), (33, vec![11, 11, 11])] {
            let files: Vec<_> = (0..cases_in_all).map(|number| (format!("c{number}"), ALLOW)).collect();
            let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), *text)).collect();
            let cases = cases(&files);
            let groups = groups(elements(&cases, &passed(&cases)));
            let calls: Vec<_> = groups.iter().flat_map(|group| chunks(group)).map(<[_]>::len).collect();
            assert_eq!(calls, sizes);
        }
    }
}
