//! The plugins stage: every Wasm rule of the profile, in its order, before anything is signed.

use std::borrow::Cow;

use policies::bundle::{ConfigValue, PluginTable};
use policies::engine::{CallerFacts, RequestFacts};
use policies::permit::{Metered, Ruled, Ruling};
use runtime::{Plugin, Request, RuleError, Value, Verdict};

use self::request::{Asker, message_digest};
use crate::record::{Refusal, Subject};
use crate::sample::Sampler;
use crate::state::Edge;
use crate::world::World;

mod request;

/// A setting of the bundle as the plugin host takes it.
pub fn config(value: &ConfigValue) -> Value {
    match value {
        ConfigValue::Text(text) => Value::Text(text.clone()),
        ConfigValue::Int(int) => Value::Int(*int),
        ConfigValue::Float(float) => Value::Float(*float),
        ConfigValue::Bool(bool) => Value::Bool(*bool),
        ConfigValue::Texts(texts) => Value::Texts(texts.clone()),
    }
}

/// A table of the bundle as the plugin host takes it.
pub fn table(table: &PluginTable) -> runtime::TableSource {
    runtime::TableSource {
        file: table.file.clone(),
        kind: if table.by_prefix {
            runtime::TableKind::Prefix
        } else {
            runtime::TableKind::Exact
        },
        text: table.text.clone(),
    }
}

/// A signature that rules are asked about.
pub type Asked<'a> = (&'a Metered, &'a Subject<'a>);

/// Asks each rule of the profile about one signature, or about several of a batch at a time: of one caller, for one profile. The rulings
/// on each, in their order. Keeps a sample of a request where the bundle wants one of it. No rule is asked once it is `late`.
pub async fn evaluate(
    (edge, world): (&Edge, &World),
    (caller, facts): (&CallerFacts, &RequestFacts),
    asked: &[Asked<'_>],
    late: impl Fn() -> bool,
) -> Vec<Result<Vec<Ruling>, Refusal>> {
    let plugins = asked.first().map_or(&[][..], |(metered, _)| metered.plugins());
    if plugins.is_empty() {
        return asked.iter().map(|_| Ok(Vec::new())).collect();
    }
    let asker = Asker::new(caller, facts);
    let digests: Vec<_> = asked
        .iter()
        .map(|(metered, _)| message_digest(metered.intent()))
        .collect();
    let requests = asked
        .iter()
        .zip(&digests)
        .map(|(asked, digest)| asker.request(*asked, digest));
    let Some(requests) = requests.collect::<Option<Vec<_>>>() else {
        return asked.iter().map(|_| Err(Refusal::not_ready())).collect();
    };
    let mut elements: Vec<_> = asked.iter().map(|asked| Element::new(*asked, world)).collect();
    for name in plugins {
        let standing = standing(&requests, &elements);
        if standing.is_empty() {
            break;
        }
        let Some(plugin) = world.plugin(name) else {
            let missing = |ruled| Refusal::rule_missing(name, ruled);
            elements.iter_mut().for_each(|element| element.refuse(missing));
            break;
        };
        let mut answers = ask((edge, world), plugin, &standing, &elements, &late)
            .await
            .into_iter();
        for element in elements.iter_mut().filter(|element| element.stands()) {
            match answers.next() {
                Some((judge, judged)) => element.hear(plugin, judge, judged),
                None => element.refuse(Refusal::too_late),
            }
        }
    }
    let sampled = |(element, request): (Element<'_>, &Request<'_>)| {
        if let Some(sampler) = element.sampler {
            edge.samples().offer(sampler, request, edge.metrics());
        }
        element.ruled
    };
    elements.into_iter().zip(&requests).map(sampled).collect()
}

/// The requests that no rule has refused yet.
fn standing<'r, 'a>(requests: &'r [Request<'a>], elements: &[Element<'_>]) -> Cow<'r, [Request<'a>]> {
    if elements.iter().all(Element::stands) {
        return Cow::Borrowed(requests);
    }
    let both = requests.iter().zip(elements);
    both.filter(|(_, element)| element.stands())
        .map(|(request, _)| request.clone())
        .collect()
}

/// Who judged, and how, for each of the requests, or for the first of them once it is late. The versions of a plugin under rollout are
/// asked about one at a time.
async fn ask<'w>(
    (edge, world): (&Edge, &'w World),
    plugin: &'w Plugin,
    requests: &[Request<'_>],
    elements: &[Element<'_>],
    late: impl Fn() -> bool,
) -> Vec<(&'w Plugin, Result<Verdict, RuleError>)> {
    let trial = world.trial(plugin.name());
    if trial.is_none()
        && !late()
        && let Some(judged) = plugin.serve_batch(requests).await
    {
        return judged.into_iter().map(|judged| (plugin, judged)).collect();
    }
    let told = |change| edge.record_breaker(plugin, change);
    let mut answers = Vec::with_capacity(requests.len());
    let asked = elements.iter().filter(|element| element.stands());
    for (request, element) in requests.iter().zip(asked) {
        if late() {
            break;
        }
        answers.push(match trial {
            None => (plugin, plugin.serve(request, told).await),
            Some(trial) => trial.judge(plugin, request, element.metered, told).await,
        });
    }
    answers
}

/// One signature, and what rules have said of it.
struct Element<'a> {
    metered: &'a Metered,
    subject: &'a Subject<'a>,
    sampler: Option<Sampler>,
    ruled: Result<Vec<Ruling>, Refusal>,
}

impl<'a> Element<'a> {
    fn new((metered, subject): Asked<'a>, world: &World) -> Element<'a> {
        let sampling = world.sampling();
        let wanted = sampling.filter(|sampling| sampling.takes(subject.id_bytes(), metered.plugins()));
        Element {
            metered,
            subject,
            sampler: wanted.map(Sampler::new),
            ruled: Ok(Vec::with_capacity(metered.plugins().len())),
        }
    }

    fn stands(&self) -> bool {
        self.ruled.is_ok()
    }

    fn refuse(&mut self, refusal: impl FnOnce(Vec<Ruled>) -> Refusal) {
        if let Ok(rulings) = &mut self.ruled {
            let ruled = rulings.drain(..).map(|ruling| ruling.by).collect();
            self.ruled = Err(refusal(ruled));
        }
    }

    /// The first rule that refuses ends it, and so does one that fails, unless the profile lets it be skipped and the failure is its own.
    fn hear(&mut self, plugin: &Plugin, judge: &Plugin, judged: Result<Verdict, RuleError>) {
        let name = plugin.name();
        if let Some(sampler) = &mut self.sampler {
            sampler.answered(name, &judged);
        }
        let by = |skipped| Ruled {
            plugin: name.to_owned(),
            component: *judge.digest(),
            skipped,
        };
        let ruling = match judged {
            Ok(verdict) => Ruling {
                by: by(None),
                lifetime_cap: verdict.lifetime_cap,
                claims: verdict.claims,
            },
            Err(RuleError::Failed { kind, detail }) if kind.is_plugins_own() && self.metered.may_skip(name) => {
                plugin.skipped(kind, &detail, self.subject.id());
                Ruling {
                    by: by(Some(kind.as_str())),
                    lifetime_cap: None,
                    claims: Vec::new(),
                }
            }
            Err(error) => return self.refuse(|ruled| Refusal::by_rule(name, *judge.digest(), error, ruled)),
        };
        if let Ok(rulings) = &mut self.ruled {
            rulings.push(ruling);
        }
    }
}

#[cfg(test)]
mod batch_tests;
#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
