//! The worlds that rules are built for, as texts: what is published, and what is embedded here.

use wit_parser::{Resolve, SourceMap, WorldId};

use super::super::manifest::World;
use crate::failure::Failure;

macro_rules! wit {
    ($($path:literal),+) => {
        [$(($path, include_str!(concat!("../../../../plugins/wit/", $path)))),+]
    };
}

/// The package `signet:rule` in its first version, then file by file in the later ones.
pub const WIT: [(&str, &str); 16] = wit![
    "rule.wit",
    "1.1.0/config.wit",
    "1.1.0/counter.wit",
    "1.1.0/digest.wit",
    "1.1.0/log.wit",
    "1.1.0/lookup.wit",
    "1.1.0/rule.wit",
    "1.1.0/types.wit",
    "1.2.0/config.wit",
    "1.2.0/counter.wit",
    "1.2.0/digest.wit",
    "1.2.0/log.wit",
    "1.2.0/lookup.wit",
    "1.2.0/rule.wit",
    "1.2.0/rule-batch.wit",
    "1.2.0/types.wit"
];

/// The worlds with each interface in the lowest version that has it: what a rule does not use of 1.1.0 it does not
/// import, and then hosts of 1.0.0 load it too, where it exports no `evaluate-batch`.
const LOWEST: &str = "
    package signet:build;
    world rule-1-0 { include signet:rule/rule@1.0.0; }
    world rule-1-1 {
        include signet:rule/rule@1.0.0;
        import signet:rule/counter@1.1.0;
        import signet:rule/lookup@1.1.0;
        import signet:rule/digest@1.1.0;
    }
    world rule-batch {
        use signet:rule/types@1.0.0.{request, verdict, refusal};
        import signet:rule/log@1.0.0;
        import signet:rule/config@1.0.0;
        import signet:rule/lookup@1.1.0;
        import signet:rule/digest@1.1.0;
        export evaluate: func(request: request) -> result<verdict, refusal>;
        export evaluate-batch: func(requests: list<request>) -> list<result<verdict, refusal>>;
    }
";

/// The lowest world of this name.
pub fn resolved(world: World) -> Result<(Resolve, WorldId), String> {
    let mut resolve = Resolve::default();
    let mut package = None;
    let version = |prefix| {
        let files = WIT.iter().filter(move |(path, _)| path.starts_with(prefix));
        files.collect::<Vec<_>>()
    };
    let build = vec![&("build.wit", LOWEST)];
    for group in [version("rule.wit"), version("1.1.0/"), version("1.2.0/"), build] {
        let mut sources = SourceMap::new();
        for (path, text) in group {
            sources.push_str(path, *text);
        }
        let group = sources.parse().map_err(|(_, error)| error.to_string())?;
        package = Some(resolve.push_group(group).map_err(|error| error.to_string())?);
    }
    let name = match world {
        World::V1_0 => "rule-1-0",
        World::V1_1 => "rule-1-1",
        World::Batch => "rule-batch",
    };
    let package: Vec<_> = package.into_iter().collect();
    let world = resolve.select_world(&package, Some(name));
    Ok((resolve, world.map_err(|error| format!("{error:#}"))?))
}

/// What a rule that judges batches cannot have.
pub const NO_COUNTER: &str = "a rule with `evaluate-batch` has no `counter`: where a batch fails its requests are judged again, one by one, and \
     what they counted would be counted twice";

/// A package with a world `rule` of just these imports, and what it refers to, file by file: for compilers that import
/// all that their world has, used or not. `batch`: the world exports `evaluate-batch` too.
pub fn world_of(imports: &[String], batch: bool) -> Result<Vec<(String, String)>, Failure> {
    if batch && imports.iter().any(|name| name == "counter") {
        return Err(Failure::new(NO_COUNTER));
    }
    let import = |name: &String| {
        let version = if runtime::DEFAULT_IMPORTS.contains(&name.as_str()) {
            "1.0.0"
        } else {
            "1.1.0"
        };
        format!("    import signet:rule/{name}@{version};\n")
    };
    let batch = match batch {
        true => "    export evaluate-batch: func(requests: list<request>) -> list<result<verdict, refusal>>;\n",
        false => "",
    };
    let world = format!(
        "package signet:build;\nworld rule {{\n    use signet:rule/types@1.0.0.{{request, verdict, refusal}};\n{}    \
         export evaluate: func(request: request) -> result<verdict, refusal>;\n{batch}}}\n",
        imports.iter().map(import).collect::<String>()
    );
    let dependency = |(path, text): &(&str, &str)| {
        let path = match *path {
            "rule.wit" => "deps/1.0.0/rule.wit".to_owned(),
            path => format!("deps/{path}"),
        };
        (path, (*text).to_owned())
    };
    let own = ("rule.wit".to_owned(), world);
    Ok(std::iter::once(own).chain(WIT.iter().map(dependency)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_for_an_interpreter_has_what_is_granted() {
        let files = world_of(&["config".into(), "counter".into()], false).unwrap();
        let world = &files[0].1;
        assert!(world.contains("import signet:rule/config@1.0.0;\n    import signet:rule/counter@1.1.0;\n    export"));
        assert!(!world.contains("lookup") && !world.contains("batch"), "{world}");
        assert!(
            files.iter().any(|(path, _)| path == "deps/1.1.0/lookup.wit"),
            "{files:?}"
        );
    }

    #[test]
    fn a_world_for_an_interpreter_with_batches_has_both_functions_and_no_counter() {
        let files = world_of(&["lookup".into()], true).unwrap();
        for line in [
            "import signet:rule/lookup@1.1.0;",
            "export evaluate: func(request: request)",
            "export evaluate-batch: func(requests: list<request>)",
        ] {
            assert!(files[0].1.contains(line), "{}", files[0].1);
        }
        let refused = world_of(&["counter".into()], true).unwrap_err().to_string();
        assert!(refused.contains("counted twice"), "{refused}");
    }
}
