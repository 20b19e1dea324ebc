//! The steps about programs outside of the clone: what `cargo xtask new` makes, and what README.md shows.
//!
//! They are built with the dependencies that the workspace has compiled. Cargo finds those by version,
//! profile and features: the lock file gives the versions, the manifest the profile, and [`ALIKE`] the
//! features that the tests of the workspace switch on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::ci::End;
use crate::new::{BURN, Engine, TORCH, make, text_of};
use crate::workspace::{Workspace, run, run_lines};
use crate::{BoxError, readme};

/// The steps, of which those on libtorch are given [its workspace](Workspace::torch).
pub(crate) fn new_burn(workspace: &Workspace) -> Result<End, BoxError> {
    new_project(workspace, &BURN, "outside-burn")
}

pub(crate) fn new_torch(torch: &Workspace) -> Result<End, BoxError> {
    new_project(torch, &TORCH, "outside-torch")
}

pub(crate) fn readme_burn(workspace: &Workspace) -> Result<End, BoxError> {
    readme_program(workspace, &BURN, 0, "readme-burn")
}

pub(crate) fn readme_torch(torch: &Workspace) -> Result<End, BoxError> {
    readme_program(torch, &TORCH, 1, "readme-torch")
}

/// Dependencies that are added to a manifest but never called. Cargo unifies the features of a crate, so
/// the project has those that the workspace enables. Without them everything would still run, but the
/// tensor library would be compiled again.
const ALIKE: [(&Engine, &str, &str); 2] = [
    (
        &BURN,
        "regimen/default,regimen/images,regimen/mlflow,regimen/nvidia,regimen/plots,regimen-burn/default",
        "
[dependencies.half]
version = \"2\"
[dependencies.proptest]
version = \"1\"
[dependencies.regimen-dashboard]
path = \"{{regimen}}/crates/regimen-dashboard\"
[dependencies.regimen-object-store]
path = \"{{regimen}}/crates/regimen-object-store\"
[dependencies.regimen-report]
path = \"{{regimen}}/crates/regimen-report\"
[dependencies.rustix]
version = \"1\"
features = [\"pty\"]
[dependencies.tempfile]
version = \"3\"
",
    ),
    (
        &TORCH,
        "regimen/default,regimen/system",
        "
[dependencies.clap]
version = \"4\"
features = [\"derive\"]
[dependencies.memchr]
version = \"2\"
",
    ),
];

/// The loss that a program must reach. All learn a sine, and a guess of zero has a loss of about 0.5.
const BOUND: f64 = 0.02;

/// Makes a project and runs it; then removes the newest checkpoint, as if it had been killed before that,
/// and runs it again.
fn new_project(workspace: &Workspace, engine: &Engine, name: &str) -> Result<End, BoxError> {
    let folder = outside(workspace, name)?;
    fs::remove_dir(&folder)?;
    make(&workspace.root, name, engine, &folder)?;
    run(workspace.cargo(&["fmt", "--check"]).current_dir(&folder))?;
    build(workspace, engine, &folder)?;
    let last = train(workspace, name, &folder)?;
    let loss = loss(&last).ok_or_else(|| format!("its last line is `{last}`"))?;
    if loss.is_nan() || loss > BOUND {
        return Ok(End::Failed(format!("it reached a loss of {loss}, and {BOUND} is asked for")));
    }
    let mut checkpoints: Vec<_> = fs::read_dir(folder.join("runs"))?.collect::<Result<_, _>>()?;
    checkpoints.retain(|entry| entry.file_name().to_string_lossy().starts_with("step-"));
    let newest = checkpoints.iter().max_by_key(|entry| entry.file_name()).ok_or("it made no checkpoint")?;
    fs::remove_dir_all(newest.path())?;
    let again = train(workspace, name, &folder)?;
    if again != last {
        return Ok(End::Failed(format!(
            "without its newest checkpoint it ended with `{again}`, not `{last}`"
        )));
    }
    Ok(End::Ran(last))
}

/// Copies a program of README.md, with the dependencies it names, to a crate, and runs it.
fn readme_program(workspace: &Workspace, engine: &Engine, which: usize, name: &str) -> Result<End, BoxError> {
    let readme = fs::read_to_string(workspace.root.join("README.md"))?;
    let program = readme::program(&readme, which, name, &workspace.root.display().to_string())?;
    let folder = outside(workspace, name)?;
    fs::create_dir(folder.join("src"))?;
    fs::write(folder.join("src/main.rs"), program.source)?;
    let profile = fs::read_to_string(workspace.root.join("Cargo.toml"))?;
    let profile = profile.find("[profile.dev]").and_then(|at| profile.get(at..)).unwrap_or_default();
    fs::write(folder.join("Cargo.toml"), format!("{}\n{profile}", program.manifest))?;
    fs::write(folder.join("Cargo.lock"), engine.lock(&workspace.root)?)?;
    build(workspace, engine, &folder)?;
    let output = workspace.program(program_file(workspace, name)).current_dir(&folder).output()?;
    let told = String::from_utf8_lossy(&output.stderr);
    println!("{}{told}", String::from_utf8_lossy(&output.stdout));
    if !output.status.success() {
        return Ok(End::Failed(format!("it ended with {}", output.status)));
    }
    let loss = eval_loss(&told).ok_or("its progress bar told no `eval/loss`")?;
    if loss.is_nan() || loss > BOUND {
        return Ok(End::Failed(format!("it reached a loss of {loss}, and {BOUND} is asked for")));
    }
    Ok(End::Ran(format!("eval/loss {loss}")))
}

/// The last loss of an evaluation that a progress bar has told.
fn eval_loss(told: &str) -> Option<f64> {
    let line = told.lines().rfind(|line| line.starts_with("eval epoch "))?;
    line.split_once(", loss ")?.1.parse().ok()
}

/// An empty folder outside of the clone.
fn outside(workspace: &Workspace, name: &str) -> Result<PathBuf, BoxError> {
    let folder = workspace.scratch(name)?;
    if folder.starts_with(&workspace.root) {
        let target = workspace.target.display();
        return Err(format!("{target} is inside of the clone: set REGIMEN_TARGET to a folder outside").into());
    }
    Ok(folder)
}

/// Builds the package in `folder` after the workspace. A dependency of a registry that is compiled for it
/// is an error, as it costs minutes.
fn build(workspace: &Workspace, engine: &Engine, folder: &Path) -> Result<(), BoxError> {
    run(&mut workspace.cargo(&["test", "--workspace", "--no-run"]))?;
    let manifest = folder.join("Cargo.toml");
    let mut text = fs::read_to_string(&manifest)?;
    let mut cargo = workspace.cargo(&["build", "--message-format", "json-render-diagnostics"]);
    for (_, features, dependencies) in ALIKE.iter().filter(|(of, ..)| of.name == engine.name) {
        cargo.args(["--features", features]);
        text += &dependencies.replace("{{regimen}}", &text_of("Cargo.toml", &workspace.root));
    }
    fs::write(&manifest, text)?;
    let mut compiled = Vec::new();
    run_lines(cargo.current_dir(folder).stdout(Stdio::piped()), |line| compiled.extend(compiled_by(line)))?;
    if compiled.is_empty() {
        return Ok(());
    }
    Err(format!("its features of {} are not those of the workspace: see {}", compiled.join(", "), file!())
        .into())
}

/// The package of a registry that was compiled, if this message of cargo says so.
fn compiled_by(message: &str) -> Option<String> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    let is_compiled = message["reason"] == "compiler-artifact" && message["fresh"] == false;
    let (_, package) = message["package_id"].as_str()?.strip_prefix("registry")?.split_once('#')?;
    is_compiled.then(|| package.to_owned())
}

/// Runs a program that was built, in its folder. The last line that it prints.
fn train(workspace: &Workspace, name: &str, folder: &Path) -> Result<String, BoxError> {
    let mut last = String::new();
    run_lines(
        workspace.program(program_file(workspace, name)).current_dir(folder).stdout(Stdio::piped()),
        |line| {
            println!("{line}");
            last = line.to_owned();
        },
    )?;
    Ok(last)
}

fn program_file(workspace: &Workspace, name: &str) -> PathBuf {
    workspace.target.join("debug").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// The loss in the line that a new project ends with.
fn loss(line: &str) -> Option<f64> {
    line.strip_prefix("loss on other numbers: ")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{compiled_by, eval_loss, loss};

    #[test]
    fn the_last_loss_of_an_evaluation_is_read_from_what_the_bar_tells() {
        let told = "eval epoch 1: 3 steps in 0:00, 9/s, loss 0.5\n\
                    eval epoch 2: 3 steps in 0:00, 9/s, loss 0.01233\ntraining complete after 2 epochs\n";
        assert_eq!(eval_loss(told), Some(0.01233));
        assert_eq!(eval_loss("train epoch 1: 3 steps in 0:00, 9/s, loss 0.5\n"), None);
    }

    #[test]
    fn the_loss_is_read_from_the_whole_line() {
        assert_eq!(loss("loss on other numbers: 0.008627"), Some(0.008_627));
        assert_eq!(loss("loss on other numbers: 0.008627 or so"), None);
        assert_eq!(loss("eval/loss 0.008627"), None);
    }

    #[test]
    fn packages_of_a_registry_are_told_where_they_were_compiled() {
        let message = |fresh, package: &str| {
            format!(r#"{{"reason":"compiler-artifact","package_id":"{package}","fresh":{fresh}}}"#)
        };
        assert_eq!(compiled_by(&message(false, "registry+index#half@2.7.1")).as_deref(), Some("half@2.7.1"));
        assert_eq!(compiled_by(&message(true, "registry+index#half@2.7.1")), None);
        assert_eq!(compiled_by(&message(false, "path+file:///clone/crates/regimen#0.1.0")), None);
        assert_eq!(compiled_by("warning"), None);
    }
}
