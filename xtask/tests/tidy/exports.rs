//! Names exported by the crates: a program may glob-import two of them.

use std::collections::BTreeSet;

use crate::project::{Source, files};

#[test]
fn an_engine_exports_nothing_under_a_name_of_regimens() {
    let regimen: BTreeSet<String> = ["regimen", "regimen-core"].into_iter().flat_map(exports).collect();
    for engine in ["regimen-burn", "regimen-torch"] {
        let names = exports(engine);
        assert_ne!(names.len(), 0, "{engine} exports nothing: the rule would hold");
        let both: Vec<_> = names.intersection(&regimen).collect();
        assert!(both.is_empty(), "`use regimen::*` and `use` of all of {engine} clash at {both:?}");
    }
}

/// The public names at the root of a crate.
pub(crate) fn exports(package: &str) -> BTreeSet<String> {
    names(&files(&format!("crates/{package}/src"), &["/src/lib.rs"])[0])
}

fn names(root: &Source) -> BTreeSet<String> {
    let code: Vec<&str> = root.code().into_iter().map(|(_, line)| line).collect();
    let mut names = BTreeSet::new();
    for statement in code.join(" ").split(';') {
        let item = statement.split_once("pub use ").or_else(|| statement.split_once("pub mod "));
        let Some((_, path)) = item else { continue };
        let last = path.rsplit("::").next().unwrap_or(path).trim_matches(['{', '}', ' ']);
        let each = last.split(',').map(|name| name.rsplit(" as ").next().unwrap_or(name).trim());
        names.extend(each.filter(|name| !name.is_empty() && *name != "*").map(str::to_owned));
    }
    names
}

#[test]
fn names_are_read_from_every_kind_of_export() {
    let text = "//! pub use doc;\nmod a;\n#[cfg(feature = \"x\")]\npub use a::{B, c as D,\n    E};\npub use b::*;\npub use burn;\npub mod data;\npub use f::g;\n";
    let source = Source { path: String::new(), text: text.to_owned() };
    assert_eq!(names(&source).into_iter().collect::<Vec<_>>(), ["B", "D", "E", "burn", "data", "g"]);
}
