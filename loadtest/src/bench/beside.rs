//! An edge in a process of its own beside `signet dev`, whose authority it joins, as an edge on another machine would: with
//! the same bundle, but with none of the authority's work in its CPU time.

use std::path::Path;
use std::process::Command;

use super::caller::Caller;
use super::process::{Cores, Server};
use super::site::{self, files, ports};
use super::{PROFILE, Subject, bench, text};
use crate::LoadError;

/// Its name, and that of its files.
const NAME: &str = "bench-edge";

/// Starts both, with all their files in `data`; answers the edge, which signs, and the authority that it needs. The edge has
/// the server's core; the authority has the client's, so that it does not take turns with what is measured.
pub(super) async fn start(signet: &Path, data: &Path, cores: &Cores) -> Result<(Subject, Server), LoadError> {
    let dev_data = data.join("signet");
    cores.client()?;
    let mut command = Command::new(signet);
    command.args(["dev", "--json", "--data"]).arg(&dev_data);
    let (authority, ready) = Server::start(&mut command, "`signet dev`")?;
    let token = text(&ready, "/token")?;

    let ports = ports::free(2)?;
    let [https, http] = *ports.as_slice() else {
        return Err(bench("there are not enough free ports"));
    };
    let (config, join) = (
        data.join(format!("{NAME}.toml")),
        data.join(format!("{NAME}.join.json")),
    );
    let certificate = (&*dev_data.join("dev/server.pem"), &*dev_data.join("dev/server.key.pem"));
    let grpc = text(&ready, "/authority/grpc")?;
    files::private(
        &config,
        &files::edge_text(&grpc, &data.join(NAME), (https, http), certificate),
    )?;
    let mut command = Command::new(signet);
    let joined = site::succeed(command.args(["edges", "token", NAME, "--data"]).arg(&dev_data))?;
    files::private(&join, &String::from_utf8(joined).map_err(bench)?)?;
    let mut command = Command::new(signet);
    command.args(["edge", "join", "--config"]).arg(&config);
    site::succeed(command.arg("--join").arg(&join))?;

    cores.server()?;
    let edge = Subject {
        name: "the edge",
        server: site::run(signet, "edge", &config)?,
        url: format!("http://127.0.0.1:{http}"),
        profile: PROFILE,
        token,
        ca_file: Some(text(&ready, "/ca_file")?.into()),
    };
    Caller::new(&edge.url, PROFILE, &edge.token)?.until_signed().await?;
    Ok((edge, authority))
}
