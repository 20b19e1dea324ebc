//! `cargo xtask new NAME --engine burn|torch [--path DIR]`: makes a project outside of the clone that
//! trains a small network. Its files are in `templates`.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::{BoxError, USAGE};

/// Makes the project that the command line asks for, and prints how to run it.
pub(crate) fn new(args: &[&str]) -> Result<(), BoxError> {
    let (name, engine, path) = match args {
        [name, "--engine", engine] => (name, engine, None),
        [name, "--engine", engine, "--path", path] | [name, "--path", path, "--engine", engine] => {
            (name, engine, Some(path))
        }
        _ => return Err(USAGE.into()),
    };
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let clone = manifest.parent().unwrap_or(manifest);
    let folder = match path {
        Some(path) => std::path::absolute(path)?,
        None => clone.parent().unwrap_or(clone).join(name),
    };
    let engine = Engine::named(engine)?;
    make(clone, name, engine, &folder)?;
    println!("{} is made: a network on {} that learns a sine", folder.display(), engine.library);
    println!("\n{}    cd {}\n    cargo run --release", engine.before, folder.display());
    Ok(())
}

/// A tensor library, and what a project has that trains on it.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) name: &'static str,
    library: &'static str,
    /// The command to run before a project is built.
    before: &'static str,
    /// The folder of its workspace in the clone: with the lock file of that one, a project has the
    /// dependencies that the clone is tested with.
    workspace: &'static str,
    files: [(&'static str, &'static str); 5],
}

macro_rules! files {
    ($engine:literal) => {
        [
            // Of another name there: cargo reads every Cargo.toml of a repository that is depended on by git.
            ("Cargo.toml", include_str!(concat!("../templates/", $engine, "/manifest.toml"))),
            ("README.md", include_str!(concat!("../templates/", $engine, "/README.md"))),
            (".gitignore", include_str!(concat!("../templates/", $engine, "/.gitignore"))),
            ("src/main.rs", include_str!(concat!("../templates/", $engine, "/src/main.rs"))),
            ("rustfmt.toml", include_str!("../../rustfmt.toml")),
        ]
    };
}

pub(crate) const BURN: Engine =
    Engine { name: "burn", library: "Burn", before: "", workspace: "", files: files!("burn") };

pub(crate) const TORCH: Engine = Engine {
    name: "torch",
    library: "libtorch",
    before: "    eval \"$(cargo xtask libtorch)\"\n",
    workspace: "crates/regimen-torch",
    files: files!("torch"),
};

impl Engine {
    fn named(name: &str) -> Result<&'static Self, BoxError> {
        let mut engines = [&BURN, &TORCH].into_iter();
        let engine = engines.find(|engine| engine.name == name);
        engine.ok_or_else(|| {
            format!("there is no engine `{name}`: write --engine burn or --engine torch").into()
        })
    }

    /// The text of the lock file in the clone.
    pub(crate) fn lock(&self, clone: &Path) -> Result<String, BoxError> {
        Ok(fs::read_to_string(clone.join(self.workspace).join("Cargo.lock"))?)
    }
}

/// Makes `folder` the project `name`, which depends on the regimen in `clone`. A folder that exists is
/// an error, whatever is in it.
pub(crate) fn make(clone: &Path, name: &str, engine: &Engine, folder: &Path) -> Result<(), BoxError> {
    check_name(name)?;
    if folder.starts_with(clone) {
        return Err(format!(
            "{} is inside of the clone, where cargo takes it for a part of that: choose a folder outside with --path",
            folder.display()
        )
        .into());
    }
    let lock = engine.lock(clone)?;
    create(folder)?;
    for (file, text) in engine.files {
        let text = text.replace("{{name}}", name).replace("{{regimen}}", &text_of(file, clone));
        let file = folder.join(file);
        fs::create_dir_all(file.parent().unwrap_or(folder))?;
        fs::write(file, text)?;
    }
    Ok(fs::write(folder.join("Cargo.lock"), lock)?)
}

/// Makes a folder that was not there.
fn create(folder: &Path) -> Result<(), BoxError> {
    fs::create_dir_all(folder.parent().unwrap_or(folder))?;
    fs::create_dir(folder).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => format!(
            "{} exists already, and nothing was written: choose another name, or another folder with --path",
            folder.display()
        )
        .into(),
        _ => format!("{} cannot be made: {error}", folder.display()).into(),
    })
}

/// The path of the clone as a file of a project has it: in a manifest with what TOML wants escaped.
pub(crate) fn text_of(file: &str, clone: &Path) -> String {
    let path = clone.display().to_string();
    match file {
        // TOML escapes as JSON does.
        "Cargo.toml" => serde_json::Value::from(path).to_string().trim_matches('"').to_owned(),
        _ => path,
    }
}

/// Names that cargo or the compiler refuses, and those of crates that the project depends on.
const TAKEN: &[&str] = &[
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "build",
    "burn",
    "const",
    "continue",
    "core",
    "crate",
    "deps",
    "do",
    "dyn",
    "else",
    "enum",
    "examples",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "incremental",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc_macro",
    "pub",
    "ref",
    "regimen",
    "regimen-burn",
    "regimen-core",
    "regimen-torch",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "tch",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

/// Refuses what is no name of a crate.
fn check_name(name: &str) -> Result<(), BoxError> {
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic());
    if !begins || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) {
        return Err(format!(
            "`{name}` is no name of a crate: begin with a letter, and use letters, digits, `-` and `_` alone"
        )
        .into());
    }
    if TAKEN.contains(&name) {
        return Err(format!(
            "a crate cannot be called `{name}`, the word has a meaning: choose another name"
        )
        .into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// An empty folder of this test's own.
    fn scratch(test: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("regimen-new-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn clone() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
    }

    fn read(file: PathBuf) -> String {
        fs::read_to_string(file).unwrap()
    }

    #[test]
    fn a_project_has_its_files_its_name_and_the_way_to_the_clone() {
        for engine in [&BURN, &TORCH] {
            let folder = scratch(engine.name).join("sine");
            make(clone(), "sine", engine, &folder).unwrap();
            let manifest = read(folder.join("Cargo.toml"));
            assert!(manifest.starts_with("[package]\nname = \"sine\"\n"), "{manifest}");
            let dependency = format!(
                "regimen = {{ path = \"{}/crates/regimen\", default-features = false }}",
                clone().display()
            );
            assert!(manifest.lines().any(|line| line == dependency), "{manifest}");
            assert!(read(folder.join("README.md")).starts_with("# sine\n"));
            assert_eq!(read(folder.join(".gitignore")), "/target\n/runs\n");
            assert_eq!(read(folder.join("Cargo.lock")), engine.lock(clone()).unwrap());
            let program = read(folder.join("src/main.rs"));
            assert!(program.lines().filter(|line| !line.is_empty()).count() <= 60, "{program}");
            for (file, _) in engine.files {
                assert!(!read(folder.join(file)).contains("{{"), "{file} of {}", engine.name);
            }
            fs::remove_dir_all(folder.parent().unwrap()).unwrap();
        }
    }

    #[test]
    fn a_project_is_found_by_the_escaped_path_of_its_clone() {
        let path = Path::new("a \"b\" \\c");
        assert_eq!(text_of("Cargo.toml", path), "a \\\"b\\\" \\\\c");
        assert_eq!(text_of("README.md", path), "a \"b\" \\c");
    }

    #[test]
    fn what_cannot_be_made_is_an_error_that_says_what_to_do() {
        let error = |args: &[&str]| new(args).unwrap_err().to_string();
        let folder = scratch("errors");
        let path = |name: &str| folder.join(name).display().to_string();
        assert_eq!(error(&["a"]), USAGE);
        assert_eq!(
            error(&["a", "--engine", "jax", "--path", &path("a")]),
            "there is no engine `jax`: write --engine burn or --engine torch"
        );
        for name in ["2fast", "", "../up", "a b", "caf\u{e9}"] {
            assert_eq!(
                error(&[name, "--engine", "burn", "--path", &path("a")]),
                format!(
                    "`{name}` is no name of a crate: begin with a letter, and use letters, digits, `-` and `_` alone"
                )
            );
        }
        assert_eq!(
            error(&["match", "--path", &path("a"), "--engine", "torch"]),
            "a crate cannot be called `match`, the word has a meaning: choose another name"
        );
        let inside = clone().join("a");
        assert_eq!(
            error(&["a", "--engine", "burn", "--path", &inside.display().to_string()]),
            format!(
                "{} is inside of the clone, where cargo takes it for a part of that: choose a folder outside with \
                 --path",
                inside.display()
            )
        );
        assert!(fs::read_dir(&folder).unwrap().next().is_none(), "something was written");

        fs::create_dir(folder.join("full")).unwrap();
        fs::write(folder.join("full/main.rs"), "mine").unwrap();
        assert_eq!(
            error(&["a", "--engine", "burn", "--path", &path("full")]),
            format!(
                "{} exists already, and nothing was written: choose another name, or another folder with --path",
                path("full")
            )
        );
        let files = fs::read_dir(folder.join("full")).unwrap().map(|file| file.unwrap().file_name());
        assert_eq!(files.collect::<Vec<_>>(), ["main.rs"]);
        assert_eq!(read(folder.join("full/main.rs")), "mine");
        fs::remove_dir_all(folder).unwrap();
    }
}
