//! Takes imports and exports out of a core module: what was called through an import that is gone traps.

use std::convert::Infallible;

use wasm_encoder::reencode::{self, Reencode, utils};
use wasm_encoder::{CodeSection, ExportSection, Function, FunctionSection, ImportSection, Instruction, Module};
use wasmparser::{CodeSectionReader, ExportSectionReader, FunctionSectionReader, ImportSectionReader};
use wasmparser::{Parser, Payload, TypeRef};

type Error = reencode::Error<Infallible>;

/// What stays.
#[derive(Clone, Copy)]
pub struct Keeps<'a> {
    /// Whether what is imported from this module does.
    pub imports: &'a dyn Fn(&str) -> bool,
    /// Whether the export of this name does.
    pub exports: &'a dyn Fn(&str) -> bool,
}

/// The module with the imports and exports that `keeps` names, and no others. All of its imports are functions.
pub fn stripped(wasm: &[u8], keeps: Keeps<'_>) -> Result<Vec<u8>, Error> {
    let mut stripped = Stripped::new(wasm, keeps)?;
    let mut module = Module::new();
    stripped.parse_core_module(&mut module, Parser::new(0), wasm)?;
    Ok(module.finish())
}

struct Stripped<'a> {
    keeps: Keeps<'a>,
    /// The new number of each function that was imported. Then come those that were not, in their order.
    imported: Vec<u32>,
    kept: u32,
    /// The types of those that trap, which come last.
    removed: Vec<u32>,
}

impl<'a> Stripped<'a> {
    fn new(wasm: &[u8], keeps: Keeps<'a>) -> Result<Stripped<'a>, Error> {
        let (mut kept, mut removed, mut of_imports, mut defined) = (0u32, Vec::new(), Vec::new(), 0u32);
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import?;
                        let TypeRef::Func(kind) = import.ty else { continue };
                        let keep = (keeps.imports)(import.module);
                        of_imports.push((keep, if keep { kept } else { number(removed.len()) }));
                        if keep {
                            kept = kept.saturating_add(1);
                        } else {
                            removed.push(kind);
                        }
                    }
                }
                Payload::FunctionSection(section) => defined = section.count(),
                _ => {}
            }
        }
        let behind = kept.saturating_add(defined);
        let imported = of_imports
            .into_iter()
            .map(|(keep, at)| if keep { at } else { behind.saturating_add(at) })
            .collect();
        Ok(Stripped {
            keeps,
            imported,
            kept,
            removed,
        })
    }
}

fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

impl Reencode for Stripped<'_> {
    type Error = Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, Error> {
        let own = || {
            function
                .saturating_sub(number(self.imported.len()))
                .saturating_add(self.kept)
        };
        Ok(self.imported.get(function as usize).copied().unwrap_or_else(own))
    }

    fn parse_import_section(
        &mut self,
        imports: &mut ImportSection,
        section: ImportSectionReader<'_>,
    ) -> Result<(), Error> {
        for import in section.into_imports() {
            let import = import?;
            if !matches!(import.ty, TypeRef::Func(_)) || (self.keeps.imports)(import.module) {
                utils::parse_import(self, imports, import)?;
            }
        }
        Ok(())
    }

    fn parse_export_section(
        &mut self,
        exports: &mut ExportSection,
        section: ExportSectionReader<'_>,
    ) -> Result<(), Error> {
        for export in section {
            let export = export?;
            if (self.keeps.exports)(export.name) {
                utils::parse_export(self, exports, export)?;
            }
        }
        Ok(())
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: FunctionSectionReader<'_>,
    ) -> Result<(), Error> {
        utils::parse_function_section(self, functions, section)?;
        for kind in &self.removed {
            functions.function(*kind);
        }
        Ok(())
    }

    fn parse_code_section(&mut self, code: &mut CodeSection, section: CodeSectionReader<'_>) -> Result<(), Error> {
        utils::parse_code_section(self, code, section)?;
        for _ in &self.removed {
            let mut traps = Function::new([]);
            traps
                .instruction(&Instruction::Unreachable)
                .instruction(&Instruction::End);
            code.function(&traps);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLS: &str = r#"(module
        (import "gone" "a" (func $a (param i32) (result i32)))
        (import "kept" "b" (func $b (result i32)))
        (import "gone" "c" (func $c))
        (table 4 funcref) (elem (i32.const 0) func $own $a $b $c)
        (func $own (export "own") (result i32) (call $b))
        (func (export "calls") (result i32) (call $c) (call $a (i32.const 1)))
        (func (export "by-table") (param i32) (result i32) (call_indirect (result i32) (local.get 0)))
        (func (export "gone") (call $c)))"#;

    #[test]
    fn what_is_kept_is_called_as_before_and_what_is_not_traps() {
        let keeps = Keeps {
            imports: &|module| module == "kept",
            exports: &|name| name != "gone",
        };
        let wasm = stripped(&wat::parse_str(CALLS).unwrap(), keeps).unwrap();
        let engine = wasmtime::Engine::default();
        let module = wasmtime::Module::new(&engine, wasm).unwrap();
        let imports: Vec<_> = module.imports().map(|import| import.name().to_owned()).collect();
        assert_eq!(imports, ["b"]);
        let exports: Vec<_> = module.exports().map(|export| export.name().to_owned()).collect();
        assert_eq!(exports, ["own", "calls", "by-table"]);
        let mut store = wasmtime::Store::new(&engine, ());
        let seven = wasmtime::Func::wrap(&mut store, || 7);
        let instance = wasmtime::Instance::new(&mut store, &module, &[seven.into()]).unwrap();
        let own = instance.get_typed_func::<(), i32>(&mut store, "own").unwrap();
        assert_eq!(own.call(&mut store, ()).unwrap(), 7);
        let by_table = instance.get_typed_func::<i32, i32>(&mut store, "by-table").unwrap();
        assert_eq!(
            (
                by_table.call(&mut store, 0).unwrap(),
                by_table.call(&mut store, 2).unwrap()
            ),
            (7, 7)
        );
        let calls = instance.get_typed_func::<(), i32>(&mut store, "calls").unwrap();
        let trap = calls.call(&mut store, ()).unwrap_err();
        assert_eq!(trap.downcast_ref(), Some(&wasmtime::Trap::UnreachableCodeReached));
    }
}
