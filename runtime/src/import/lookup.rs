//! `signet:rule/lookup`: read-only tables of the bundle.

use super::counted;
use crate::call::State;
use crate::table::{Found, Table};
use std::net::IpAddr;
use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Linker, Lower, WasmStr};

pub(super) fn add(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut instance = linker.instance("signet:rule/lookup@1.2.0")?;
    instance.func_wrap("get", get)?;
    instance.func_wrap("prefix", prefix)
}

#[derive(Debug, Clone, Copy, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
enum Problem {
    #[component(name = "no-such-table")]
    NoSuchTable,
    #[component(name = "wrong-kind")]
    WrongKind,
    #[component(name = "not-an-address")]
    NotAnAddress,
}

type Answer = (Result<Option<String>, Problem>,);

fn get(context: StoreContextMut<'_, State>, (table, key): (WasmStr, WasmStr)) -> wasmtime::Result<Answer> {
    answer(context, &table, &key, |table, key| Ok(table.get(key)))
}

fn prefix(context: StoreContextMut<'_, State>, (table, address): (WasmStr, WasmStr)) -> wasmtime::Result<Answer> {
    answer(context, &table, &address, |table, address| {
        let address: IpAddr = address.parse().map_err(|_| Problem::NotAnAddress)?;
        Ok(table.prefix(address))
    })
}

fn answer(
    mut context: StoreContextMut<'_, State>,
    table: &WasmStr,
    key: &WasmStr,
    find: impl Fn(&Table, &str) -> Result<Found, Problem>,
) -> wasmtime::Result<Answer> {
    counted(context.data_mut())?;
    let (table, key) = (table.to_str(&context)?, key.to_str(&context)?);
    let Some(table) = context.data().plugin.tables.get(table.as_ref()) else {
        return Ok((Err(Problem::NoSuchTable),));
    };
    Ok((find(table, &key).and_then(|found| match found {
        Found::Value(value) => Ok(Some(value)),
        Found::Nothing => Ok(None),
        Found::WrongKind => Err(Problem::WrongKind),
    }),))
}
