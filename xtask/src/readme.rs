//! The programs that README.md shows, and the dependencies it names for them: in its order the program
//! on Burn and the one on libtorch.

use crate::BoxError;

/// A program of the README with the manifest of a crate for it.
#[derive(Debug, PartialEq)]
pub(crate) struct Program {
    pub(crate) source: String,
    pub(crate) manifest: String,
}

/// How the README writes the way to the clone: the reader's crate lies beside it.
const BESIDE: &str = "\"../regimen/";

/// The program number `which`, from 0, of the text `readme`, as a crate `name` that finds regimen in
/// `clone`.
pub(crate) fn program(readme: &str, which: usize, name: &str, clone: &str) -> Result<Program, BoxError> {
    let source = block(readme, "rust", which)?.to_owned();
    let dependencies = block(readme, "toml", which)?;
    if !dependencies.lines().any(|line| line == "[dependencies]") {
        return Err(format!("`toml` block {} of README.md has no line `[dependencies]`", which + 1).into());
    }
    if !dependencies.contains(BESIDE) {
        return Err(format!(
            "`toml` block {} of README.md names no path that begins with ../regimen/",
            which + 1
        )
        .into());
    }
    let dependencies = dependencies.replace(BESIDE, &format!("\"{clone}/"));
    let manifest = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n\n{dependencies}");
    Ok(Program { source, manifest })
}

/// The text of the fenced block number `which`, from 0, of those in `language`.
fn block<'t>(markdown: &'t str, language: &str, which: usize) -> Result<&'t str, BoxError> {
    let fence = format!("```{language}\n");
    let mut blocks = markdown.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap_or(rest));
    let count = blocks.clone().count();
    let missing =
        || format!("README.md has {count} blocks of `{language}`, and number {} is needed", which + 1);
    Ok(blocks.nth(which).ok_or_else(missing)?)
}

#[cfg(test)]
mod tests {
    use super::program;

    const README: &str = "\
# regimen

```rust
fn main() {}
```

```toml
[dependencies]
regimen = { path = \"../regimen/crates/regimen\" }
```

```sh
cargo run
```

<details><summary>The same on libtorch</summary>

```rust
fn main() { torch() }
```

```toml
regimen = { path = \"../regimen/crates/regimen\" }
```
</details>
";

    #[test]
    fn a_program_of_the_readme_is_copied_with_its_dependencies() {
        let burn = program(README, 0, "copied", "/clone").unwrap();
        assert_eq!(burn.source, "fn main() {}\n");
        assert_eq!(
            burn.manifest,
            "[package]\nname = \"copied\"\nedition = \"2024\"\n\n[dependencies]\nregimen = { path = \
             \"/clone/crates/regimen\" }\n"
        );
    }

    #[test]
    fn what_the_readme_lacks_is_named() {
        let error = |readme: &str, which| program(readme, which, "copied", "/clone").unwrap_err().to_string();
        assert_eq!(error(README, 1), "`toml` block 2 of README.md has no line `[dependencies]`");
        assert_eq!(error(README, 2), "README.md has 2 blocks of `rust`, and number 3 is needed");
        let one = README.replacen("```toml", "```", 1);
        assert_eq!(error(&one, 1), "README.md has 1 blocks of `toml`, and number 2 is needed");
        let registry = README.replace("path = \"../regimen/crates/regimen\"", "version = \"1\"");
        assert_eq!(
            error(&registry, 0),
            "`toml` block 1 of README.md names no path that begins with ../regimen/"
        );
    }
}
