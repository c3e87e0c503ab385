//! The functions that a core module exports, by name: an encoder of components passes over what its world does not have.

use wasmparser::{ExternalKind, Parser, Payload};

/// Whether a core module exports this function.
pub fn has(module: &[u8], name: &str) -> bool {
    place(module, name).is_some()
}

/// Gives an exported function a name of the same length. Nothing happens where there is none of the first name.
pub fn rename(module: &mut [u8], from: &str, to: &str) {
    debug_assert_eq!(from.len(), to.len(), "`{from}` and `{to}`");
    let place = place(module, from).and_then(|at| module.get_mut(at..at.saturating_add(to.len())));
    if let Some(place) = place {
        place.copy_from_slice(to.as_bytes());
    }
}

/// Where its name lies. The name is shorter than 128 bytes, so that its length takes one.
fn place(module: &[u8], name: &str) -> Option<usize> {
    let sections = Parser::new(0).parse_all(module);
    let exports = sections.filter_map(|section| match section {
        Ok(Payload::ExportSection(exports)) => Some(exports),
        _ => None,
    });
    let mut all = exports.flat_map(|exports| exports.into_iter_with_offsets()).flatten();
    let found = all.find(|(_, export)| export.kind == ExternalKind::Func && export.name == name);
    found.map(|(at, _)| at.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_export_of_a_function_gets_another_name() {
        let text = "(module (memory (export \"a-b\") 1) (data (i32.const 0) \"\\03a_b\\00\")
            (func $a_b (export \"a_b\")) (func (export \"other\")))";
        let mut module = wat::parse_str(text).unwrap();
        assert!(has(&module, "a_b") && has(&module, "other"));
        assert!(!has(&module, "a-b"), "that is a memory");
        let before = module.clone();
        rename(&mut module, "none", "else");
        assert_eq!(module, before);
        rename(&mut module, "a_b", "a.b");
        assert!(has(&module, "a.b") && !has(&module, "a_b"));
        let changed = module.iter().zip(&before).filter(|(new, old)| new != old).count();
        assert_eq!(changed, 1);
        assert!(!has(b"no module", "a_b"));
    }
}
