//! `signet:rule/config`: the plugin's own settings.

use super::counted;
use crate::call::State;
use crate::value::Value;
use std::sync::Arc;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, WasmStr};

pub(super) const INSTANCE: &str = "signet:rule/config@1.2.0";

pub(super) fn add(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.instance(INSTANCE)?.func_wrap("get", get)
}

type Found = (Option<Arc<Value>>,);

fn get(mut context: StoreContextMut<'_, State>, (name,): (WasmStr,)) -> wasmtime::Result<Found> {
    counted(context.data_mut())?;
    let name = name.to_str(&context)?;
    Ok((context.data().plugin.config.get(name.as_ref()).cloned(),))
}
