//! A component on a host like an edge's, called with cases.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;
use std::time::Duration;

use runtime::{
    Artifact, Host, LoadError, LoadFailure, Plugin, PluginSource, Request, RuleError, Settings, Value, Verdict, Workers,
};

use super::case::Case;
use super::log::{Listener, Log};
use super::outcome::Outcome;
use super::project::Subject;
use crate::failure::{Context, Failure};
use crate::progress;

/// The largest component, as in a bundle: an interpreter fits.
pub const MAX_COMPONENT: usize = 32 << 20;
/// A laptop may compile for longer than an edge does: nobody waits behind it.
const COMPILE_TIMEOUT: Duration = Duration::from_secs(300);

/// What a bundle can grant of both, as docs/reference/plugins.md has it.
const MAX_DEADLINE: Duration = Duration::from_millis(100);
const MAX_MEMORY: usize = 64 << 20;
pub const DEADLINE: RangeInclusive<Duration> = Duration::from_millis(1)..=MAX_DEADLINE;
pub const MEMORY: RangeInclusive<usize> = (64 << 10)..=MAX_MEMORY;

/// The host, and the bytes that it loads.
#[derive(Debug)]
pub struct Runner {
    host: Host,
    tasks: tokio::runtime::Runtime,
    wasm: Vec<u8>,
    /// Compiled once: settings and tables, which differ from case to case, are no part of it.
    code: Artifact,
    isolated: bool,
}

impl Runner {
    /// Reads the component and compiles it. `isolated`: its calls are made in a worker process, as with `isolation = "process"` in a bundle.
    pub fn new(subject: &Subject, isolated: bool) -> Result<Runner, Failure> {
        let path = &subject.component;
        let wasm = std::fs::read(path).context(|| format!("`{}`", path.display()))?;
        let tasks = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let host = host()?;
        let code = progress::during("compiling", || host.compile(&wasm, host.target())).map_err(|reason| {
            let plugin = subject.name.clone();
            unloadable(&LoadError { plugin, reason }, None)
        })?;
        Ok(Runner {
            host,
            tasks,
            wasm,
            code,
            isolated,
        })
    }

    /// Loads it with the subject's settings and tables, and in their place those of a case.
    pub fn load(&self, subject: &Subject, case: Option<&Case>) -> Result<Plugin, Failure> {
        let source = self.source(subject, case)?;
        let loaded = self.host.load_compiled(source, self.code.clone());
        loaded.map_err(|error| unloadable(&error, case))
    }

    /// Loads it as it is without a case, so that what is wrong then is no case's fault. None if it does not start: a case
    /// may have the settings that it needs.
    pub fn load_own(&self, subject: &Subject) -> Result<Option<Plugin>, Failure> {
        let source = self.source(subject, None)?;
        match self.host.load_compiled(source, self.code.clone()) {
            Ok(plugin) => Ok(Some(plugin)),
            Err(error) if matches!(error.reason, LoadFailure::DoesNotStart(_)) => Ok(None),
            Err(error) => Err(unloadable(&error, None)),
        }
    }

    fn source(&self, subject: &Subject, case: Option<&Case>) -> Result<PluginSource, Failure> {
        let mut settings = BTreeMap::new();
        for (name, value) in subject.config.iter().chain(case.iter().flat_map(|case| &case.config)) {
            settings.insert(name.clone(), setting(name, value)?);
        }
        for name in case.iter().flat_map(|case| &case.unset) {
            if settings.remove(name).is_none() {
                return Err(Failure::new(format!(
                    "plugin.toml has no setting `{name:.64}` that could be unset"
                )));
            }
        }
        let tables = subject.tables.iter().chain(case.iter().flat_map(|case| &case.tables));
        Ok(PluginSource {
            config: settings,
            imports: subject.imports.clone(),
            tables: tables.map(|(name, table)| (name.clone(), table.clone())).collect(),
            deadline: subject.deadline,
            memory: subject.memory,
            isolated: self.isolated,
            ..granted(&subject.name, self.wasm.clone())
        })
    }

    /// Calls the plugin once.
    pub fn call(&self, plugin: &Plugin, request: &Request<'_>) -> Outcome {
        self.ask(plugin, request).into()
    }

    /// As [`Runner::call`], with what the rule writes to its log meanwhile.
    pub fn listen(&self, plugin: &Plugin, request: &Request<'_>, listener: &Listener, log: &mut Log) -> Outcome {
        // A line is written by the task that called, and that runs on this thread.
        heard(plugin, listener, log, || self.call(plugin, request))
    }

    /// Asks about several requests in one call; the error is that of the whole call.
    pub fn call_batch(&self, plugin: &Plugin, requests: &[Request<'_>]) -> Result<Vec<Outcome>, Outcome> {
        let answered = self.tasks.block_on(plugin.evaluate_batch(requests));
        let failed = |error| Outcome::from(Err(error));
        Ok(answered.map_err(failed)?.into_iter().map(Outcome::from).collect())
    }

    /// As [`Runner::call_batch`], with what the rule writes to its log meanwhile.
    pub fn listen_batch(
        &self,
        plugin: &Plugin,
        requests: &[Request<'_>],
        listener: &Listener,
        log: &mut Log,
    ) -> Result<Vec<Outcome>, Outcome> {
        heard(plugin, listener, log, || self.call_batch(plugin, requests))
    }

    /// As [`Runner::call`], in the host's words.
    pub fn ask(&self, plugin: &Plugin, request: &Request<'_>) -> Result<Verdict, RuleError> {
        self.tasks.block_on(plugin.evaluate(request))
    }
}

fn heard<T>(plugin: &Plugin, listener: &Listener, log: &mut Log, call: impl FnOnce() -> T) -> T {
    let dropped = || plugin.metrics().log_dropped.load(Ordering::Relaxed);
    let before = dropped();
    let outcome = listener.during(log, call);
    log.dropped(dropped().saturating_sub(before));
    outcome
}

fn unloadable(error: &LoadError, case: Option<&Case>) -> Failure {
    let advice = match error.reason {
        // These say it themselves.
        LoadFailure::Setting { .. } if case.is_some() => "here, in the case",
        LoadFailure::Setting { .. } => "here, in plugin.toml",
        _ => "`signet plugin inspect` says what to do",
    };
    Failure::new(format!("{error}; {advice}"))
}

/// A plugin with everything that a bundle can grant.
pub fn granted(name: &str, wasm: Vec<u8>) -> PluginSource {
    PluginSource {
        imports: runtime::grantable().map(str::to_owned).collect(),
        deadline: MAX_DEADLINE,
        memory: MAX_MEMORY,
        ..PluginSource::new(name, wasm)
    }
}

/// An edge's host, for one call at a time.
pub fn host() -> Result<Host, Failure> {
    let settings = Settings {
        max_calls: 2,
        max_compilations: 1,
        max_component: MAX_COMPONENT,
        compile_timeout: COMPILE_TIMEOUT,
        workers: Workers {
            each: 1,
            ..Workers::default()
        },
        ..Settings::default()
    };
    Ok(Host::new(settings)?)
}

/// A setting as the host takes it.
pub fn setting(name: &str, value: &toml::Value) -> Result<Value, Failure> {
    let unreadable = || {
        Failure::new(format!(
            "setting `{name}` is of a kind that plugins cannot read; write a text, an integer, a float, a boolean or a list of texts"
        ))
    };
    Ok(match value {
        toml::Value::String(text) => Value::Text(text.clone()),
        toml::Value::Integer(int) => Value::Int(*int),
        toml::Value::Float(float) => Value::Float(*float),
        toml::Value::Boolean(value) => Value::Bool(*value),
        toml::Value::Array(items) => {
            let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
            Value::Texts(texts.collect::<Option<_>>().ok_or_else(unreadable)?)
        }
        toml::Value::Datetime(_) | toml::Value::Table(_) => return Err(unreadable()),
    })
}
