//! Compiles what is spoken of etcd's API in Rust alone: protox reads the `.proto`, so that a build needs no `protoc`.

use std::error::Error;

#[allow(clippy::print_stdout, reason = "this is how a build script speaks to Cargo")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto/etcd.proto");
    let descriptors = protox::compile(["etcd.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .build_server(false)
        .bytes(".etcdserverpb")
        .compile_fds(descriptors)?;
    Ok(())
}
