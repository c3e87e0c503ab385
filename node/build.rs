//! Compiles the gRPC contract in Rust alone: protox reads the `.proto`, so that a build needs no `protoc`.

use std::error::Error;

#[allow(clippy::print_stdout, reason = "this is how a build script speaks to Cargo")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto/authority.proto");
    let descriptors = protox::compile(["authority.proto"], ["proto"])?;
    tonic_prost_build::configure()
        // Debug text would carry join tokens into logs (R10); `contract.rs` writes it by hand.
        .skip_debug([".signet.authority.v1.EnrollRequest"])
        .compile_fds(descriptors)?;
    Ok(())
}
