//! `signet:rule/digest`: SHA-2, so that a guest need not carry it.

use super::counted;
use crate::call::State;
use crate::failure::HostCallRefused;
use crate::limits::MAX_DIGESTED;
use sha2::{Digest, Sha256, Sha384, Sha512};
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, WasmList};

pub(super) const NAME: &str = "digest";

pub(super) fn add(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut instance = linker.instance("signet:rule/digest@1.2.0")?;
    instance.func_wrap("sha256", digest::<Sha256>)?;
    instance.func_wrap("sha384", digest::<Sha384>)?;
    instance.func_wrap("sha512", digest::<Sha512>)
}

/// A single call takes what may cross to the host at once, [`crate::limits::MAX_CROSSING`]: the engine sees to that.
fn digest<D: Digest>(
    mut context: StoreContextMut<'_, State>,
    (data,): (WasmList<u8>,),
) -> wasmtime::Result<(Vec<u8>,)> {
    let state = context.data_mut();
    counted(state)?;
    state.digested = state.digested.saturating_add(data.len());
    if state.digested > MAX_DIGESTED.saturating_mul(state.requests as usize) {
        return Err(HostCallRefused("more than 1 MiB to digest for a request").into());
    }
    Ok((D::digest(data.as_le_slice(&context)).to_vec(),))
}
