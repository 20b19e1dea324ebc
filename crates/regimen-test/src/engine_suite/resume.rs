//! Saving in the middle of a window, and resuming in a new process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{env, fs};

use regimen_core::saved::{load_parts, save_parts};
use regimen_core::{BoxError, Fit, Run};

use super::EngineFixture;
use super::measure::{ensure, ensure_same};
use super::task::{Unit, batches, unit};
use super::text::{from_text, to_text};

/// Environment variable with the first process's saved state.
const VARIABLE: &str = "REGIMEN_ENGINE_SUITE_SAVED";

/// The part of the run itself.
const RUN: &str = "run";

/// Two steps into the second window.
const SAVED_AT: u64 = 5;

const EPOCHS: u64 = 2;

/// A run with dropout is saved in the middle of an accumulation window and loaded into a new engine in a new
/// process. It ends with the bits of an uninterrupted run: parameters, optimizer, progress, and the losses of
/// training and evaluation.
pub fn a_new_process_continues_with_the_same_bits<F: EngineFixture>(fixture: &F) -> Result<(), BoxError> {
    let data = data(fixture);
    let mut unit = resumable(fixture);
    let mut run = Run::new(&mut unit).seed(11);
    run.fit(&data, &data, Fit::steps(SAVED_AT))?;
    let saved = save(&mut run)?;
    let held = from_text(&saved)?.get("auto_unit").is_some_and(|part| !part.under("gradients").is_empty());
    ensure(held, "no gradients were saved in the middle of a window")?;
    run.fit(&data, &data, Fit::epochs(EPOCHS))?;
    let expected = save(&mut run)?;

    let found = from_text(&in_second_process(fixture.test_name(), &saved)?)?;
    let expected = from_text(&expected)?;
    ensure(found.keys().eq(expected.keys()), "the parts of the unit have other names in a new process")?;
    found
        .iter()
        .zip(&expected)
        .try_for_each(|((name, found), (_, expected))| ensure_same(name, found, expected))
}

/// Runs this program's only test again, with `saved` for [`is_second_process`], and returns its answer.
fn in_second_process(test: &str, saved: &str) -> Result<String, BoxError> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let (process, n) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let path = env::temp_dir().join(format!("regimen-engine-suite-{process}-{n}"));
    fs::write(&path, saved)?;
    let output = Command::new(env::current_exe()?)
        .args([test, "--exact", "--nocapture"])
        .env(VARIABLE, &path)
        .output();
    let answer = fs::read_to_string(answer_to(&path));
    let _ = (fs::remove_file(&path), fs::remove_file(answer_to(&path)));
    let output = output?;
    answer.map_err(|_| {
        let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
        format!("test `{test}` left no answer in a second process; is that its name?\n{out}{err}").into()
    })
}

fn answer_to(saved: &Path) -> PathBuf {
    saved.with_extension("answer")
}

/// Whether this is the second process; if so, it has done its work.
#[track_caller]
pub(super) fn is_second_process<F: EngineFixture>(fixture: &F) -> bool {
    let Some(saved) = env::var_os(VARIABLE) else { return false };
    let done = go_on(fixture, Path::new(&saved));
    assert!(done.is_ok(), "cannot go on in a new process: {done:?}");
    true
}

fn go_on<F: EngineFixture>(fixture: &F, path: &Path) -> Result<(), BoxError> {
    let mut saved = from_text(&fs::read_to_string(path)?)?;
    let run_state = saved.remove(RUN).ok_or("the state of the run was not saved")?;
    let mut unit = resumable(fixture);
    let mut run = Run::new(&mut unit);
    run.load_run_state(&run_state)?;
    load_parts(run.unit_mut(), &saved)?;
    let data = data(fixture);
    run.fit(&data, &data, Fit::epochs(EPOCHS))?;
    fs::write(answer_to(path), save(&mut run)?)?;
    Ok(())
}

/// Seven steps per epoch, in windows of 3, 3 and 1.
fn data<F: EngineFixture>(fixture: &F) -> Vec<F::Batch> {
    batches(fixture, &[2, 3, 4, 2, 5, 3, 5])
}

fn resumable<F: EngineFixture>(fixture: &F) -> Unit<'_, F> {
    unit(fixture, fixture.regularized()).accumulate(3).clip_norm(1.0)
}

fn save<F: EngineFixture>(run: &mut Run<'_, Unit<'_, F>>) -> Result<String, BoxError> {
    let mut parts = save_parts(run.unit_mut())?;
    parts.insert(RUN.to_owned(), run.run_state()?);
    Ok(to_text(&parts))
}
