//! Compiles the gRPC contract in Rust alone: protox reads the `.proto`, so that a build needs no `protoc`.

use std::error::Error;

#[allow(clippy::print_stdout, reason = "this is how a build script speaks to Cargo")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto/authority.proto");
    let descriptors = protox::compile(["authority.proto"], ["proto"])?;
    tonic_prost_build::configure()
        // Debug text would carry join tokens and key material into logs (R10); `contract.rs` writes these by hand.
        .skip_debug([
            ".signet.authority.v1.EnrollRequest",
            ".signet.authority.v1.SharedVersion",
        ])
        .compile_fds(descriptors)?;
    Ok(())
}
