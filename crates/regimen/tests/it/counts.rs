//! Counts near the end of their type in a checkpoint whose checksums hold: an error, never an overflow.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use regimen::auto_unit::{Averaging, EVAL_LOSS, GradientScaler, Plateau};
use regimen::callback::{EarlyStopping, Every, TimeLimit};
use regimen::data::Loader;
use regimen::engine::Precision;
use regimen::run::Report;
use regimen::saved::{Dtype, MAX_COUNT, StateDict, load_parts, save_parts};
use regimen::{AutoUnit, BoxError, Fit, Loss, Run, Step, Task};
use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp, ToyOptimizer, ToyVars, manual_seed};

struct Line;

impl Task<ToyEngine<ToyMlp>> for Line {
    type Batch = ToyArray;
    type Output = ();

    fn compute_loss(
        &mut self,
        _: &Step,
        mlp: &ToyMlp,
        x: &ToyArray,
    ) -> Result<(Loss<ToyArray>, ()), BoxError> {
        Ok((Loss::mean(mlp.forward(x).mean_squared_error(x), 1.0), ()))
    }
}

/// The saved state of a run by part, the run itself under `""`.
type Saved = BTreeMap<String, StateDict>;

/// Fits to `steps` with everything that counts, restored from `saved`. Returns the saved state.
fn fit(saved: Option<&Saved>, steps: u64) -> Result<(Report, Saved), BoxError> {
    manual_seed(1);
    let mut vars = ToyVars::new();
    let mlp = ToyMlp::regularized(&mut vars, [1, 8, 1], 0.3);
    let mut unit = AutoUnit::new(ToyEngine::new(vars, mlp, ToyOptimizer::adam_w(0.01)), Line)
        .accumulate(3)
        .precision(Precision::F16)
        .gradient_scaler(GradientScaler::new().growth_interval(5))
        .average(Averaging::swa().every_nth(2))
        .reduce_on_plateau(Plateau::min(EVAL_LOSS).patience(3));
    let mut run = Run::new(&mut unit)
        .callback(EarlyStopping::min(EVAL_LOSS, 9))
        .callback(TimeLimit::new(Duration::from_secs(3600)));
    if let Some(saved) = saved {
        let mut parts = saved.clone();
        let state = parts.remove("").unwrap();
        run.load_run_state(&state)?;
        load_parts(run.unit_mut(), &parts)?;
    }
    let x = |index: usize| ToyArray::new(&[1, 1], &[index as f64 / 8.0]);
    let only = |samples: Vec<ToyArray>| {
        samples.into_iter().next().ok_or_else(|| BoxError::from("a batch without a sample"))
    };
    let data = Loader::collate((0..8).map(x).collect::<Vec<_>>(), only).shuffle();
    let report = run.fit(&data, &data, Fit::steps(steps).eval_every(Every::steps(4)))?;
    let mut saved = save_parts(run.unit_mut())?;
    saved.insert(String::new(), run.run_state()?);
    Ok((report, saved))
}

#[test]
fn no_number_at_the_end_of_its_range_overflows() {
    let (_, saved) = fit(None, 11).unwrap();
    let (mut changed, mut refused) = (0, 0);
    for (part, dict) in &saved {
        for (name, array) in dict.iter().filter(|(_, array)| array.dtype() == Dtype::U64) {
            for (at, value) in
                (0..array.to_vec::<u64>().unwrap().len()).zip([u64::MAX, u64::MAX - 1].into_iter().cycle())
            {
                let mut numbers: Vec<u64> = array.to_vec().unwrap();
                numbers[at] = value;
                let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
                let array = regimen::saved::Array::new(Dtype::U64, array.shape().to_vec(), bytes).unwrap();
                let mut saved = saved.clone();
                let dict = saved.get_mut(part).unwrap();
                drop(dict.remove(name).unwrap());
                dict.insert(name, array).unwrap();
                changed += 1;
                // Some may have any value, such as the seed, and others are checked in time.
                if let Err(error) = fit(Some(&saved), 40) {
                    let error = format!("{error:#}");
                    assert!(!error.contains("panicked"), "`{name}` of part `{part}`: {error}");
                    refused += 1;
                }
            }
        }
    }
    assert!(30 < changed && changed / 2 < refused, "{refused} of {changed} refused");
}

#[test]
fn a_count_that_no_run_comes_to_is_named() {
    let (_, saved) = fit(None, 11).unwrap();
    let error = |part: &str, name: &str| {
        let mut saved = saved.clone();
        let dict = saved.get_mut(part).unwrap();
        drop(dict.remove(name).unwrap());
        dict.insert(name, MAX_COUNT + 1).unwrap();
        fit(Some(&saved), 40).map_err(|error| format!("{error:#}")).unwrap_err()
    };
    for name in ["run.train.progress.steps", "run.eval.progress.epochs", "run.train.progress.samples"] {
        let expected =
            format!("`{}`: 9007199254740993 is more than any run counts", name.rsplit('.').next().unwrap());
        assert!(error("", name).contains(&expected), "{}", error("", name));
    }
    for name in ["skipped", "averaged", "window.steps", "scaler.streak", "plateau.bad", "plateau.resting"] {
        assert!(error("auto_unit", name).contains("is more than any run counts"), "{name}");
    }
}
