//! The worker's end.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, RawFd};
use std::sync::Arc;

use rustix::process::{Signal, set_parent_process_death_signal};

use super::confine::{confine, hide};
use super::protocol::{Channel, Hello, Reply, Unready, decode};
use crate::artifact::Artifact;
use crate::call::{self, Ended};
use crate::component::{LoadFailure, PluginSource, link, start_once};
use crate::engine::{Host, Settings};
use crate::give_way::{be_interrupted, giving_way_if_slow};
use crate::import::counter::Counting;
use crate::plugin::Inner;
use crate::question::Asked;
use crate::table::TableSource;

/// The whole of `signet plugin-worker`: one plugin, whose calls come over the socket that is standard input, and whose machine code
/// is the file that is standard output. Started as [`crate::Workers`] say, never by hand; ends with its parent.
///
/// # Errors
/// Where the socket breaks, or the kernel does not take away what a worker must not have.
pub fn run_worker() -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    hide()?;
    close_inherited()?;
    let socket = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let channel = Arc::new(Channel::new(socket)?);
    let hello: Hello = decode(&channel.expect()?)?;
    be_interrupted();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let plugin = match load(hello, &channel) {
        Ok(plugin) => plugin,
        Err(failure) => return channel.write(&Err::<(), _>(Unready::from(failure))),
    };
    channel.write(&Ok::<_, Unready>(()))?;
    while let Some(content) = channel.read()? {
        let asked: Asked<'_> = decode(&content)?;
        let call = call::guarded(async { Ok(call::here(&plugin, asked.question()).await) });
        let ended = giving_way_if_slow(|| runtime.block_on(call));
        channel.write(&Reply::from(ended.unwrap_or_else(Ended::failed)))?;
    }
    Ok(())
}

/// Loads the plugin, gives up what is not needed any more, and only then lets it run for the first time.
fn load(hello: Hello, channel: &Arc<Channel>) -> Result<Arc<Inner>, LoadFailure> {
    let failed = |error: io::Error| LoadFailure::Worker(error.to_string());
    let settings = Settings {
        max_calls: 1,
        max_calls_per_plugin: 1,
        max_compilations: 1,
        slow_lanes: 1,
        max_memory: hello.max_memory,
        max_total_memory: hello.memory,
        max_deadline: hello.max_deadline,
        keep_resident: hello.keep_resident,
        ..Settings::default()
    };
    let memory = hello.memory;
    let source = source(hello, channel).map_err(failed)?;
    let host = Host::new(settings).map_err(|error| LoadFailure::Worker(error.to_string()))?;
    let component = Artifact::component_of_parent(&host.0.engine)?;
    let plugin = link(host.0, &source, &component, Counting::Parent(channel.clone()))?;
    let plugin = Arc::new(plugin);
    drop((source, component));
    confine(memory).map_err(failed)?;
    start_once(&plugin)?;
    Ok(plugin)
}

fn source(hello: Hello, channel: &Channel) -> io::Result<PluginSource> {
    let mut source = PluginSource {
        config: hello.config,
        imports: hello.imports,
        deadline: hello.deadline,
        memory: hello.memory,
        ..PluginSource::new(hello.name, Vec::new())
    };
    for (name, file, kind) in hello.tables {
        let text = channel.expect()?.into();
        source.tables.insert(name, TableSource { file, kind, text });
    }
    Ok(source)
}

/// Closes what a parent's parent left open by mistake.
#[allow(
    unsafe_code,
    reason = "a descriptor that was inherited has no owner here through which it could be closed"
)]
fn close_inherited() -> io::Result<()> {
    let listed: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    // The directory itself is listed, and closed again.
    let is_open = |descriptor: &RawFd| std::fs::symlink_metadata(format!("/proc/self/fd/{descriptor}")).is_ok();
    for descriptor in listed.into_iter().filter(|listed| *listed > 2).filter(is_open) {
        // SAFETY: this process has just begun and keeps nothing open, so that nobody here owns the descriptor.
        unsafe { rustix::io::close(descriptor) };
    }
    Ok(())
}
