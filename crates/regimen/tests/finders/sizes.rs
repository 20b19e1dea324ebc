//! Searches for a batch size under a limit of memory.

use std::cell::RefCell;

use regimen::data::{DataExt, Loader, Rank, indices};
use regimen::finder::BatchSizeFinder;
use regimen::{AutoUnit, BoxError, Error, Loss, Run, Step, Task};
use regimen_test::toy::{ToyArray, ToyEngine, ToyOptimizer, ToyVars};

/// A task whose batches fit up to a number of samples.
struct Limited {
    most: usize,
    cause: &'static str,
    panics: bool,
}

impl Task<ToyEngine<ToyArray>> for Limited {
    type Batch = Vec<usize>;
    type Output = ();

    fn compute_loss(
        &mut self,
        _: &Step,
        w: &ToyArray,
        batch: &Vec<usize>,
    ) -> Result<(Loss<ToyArray>, ()), BoxError> {
        match self.most < batch.len() {
            true if self.panics => panic!("{}", self.cause),
            true => Err(self.cause.into()),
            false => Ok((Loss::mean(w.mean(), 1.0), ())),
        }
    }
}

fn unit(most: usize) -> AutoUnit<ToyEngine<ToyArray>, Limited> {
    let mut vars = ToyVars::new();
    let w = vars.parameter("w", &[1], 1.0);
    let limited = Limited { most, cause: "CUDA out of memory", panics: false };
    AutoUnit::new(ToyEngine::new(vars, w, ToyOptimizer::sgd(0.0)), limited).accumulate(8)
}

fn loader() -> Loader<Vec<usize>> {
    Loader::new(indices(100))
}

/// Finds a size for a unit that fits `most`, and compares it and the sizes that were tried.
#[track_caller]
fn check(finder: BatchSizeFinder, most: usize, expected: usize, tried: &[usize]) {
    let mut unit = unit(most);
    let made = RefCell::new(Vec::new());
    let found = finder.find(&mut Run::new(&mut unit), |size| {
        made.borrow_mut().push(size);
        loader().batch_size(size)
    });
    let found = found.unwrap();
    assert_eq!(found.size(), expected);
    let sizes: Vec<usize> = found.trials().iter().map(|trial| trial.size).collect();
    assert_eq!(sizes, tried);
    let failed = found.trials().iter().filter(|trial| trial.out_of_memory.is_some()).count();
    assert_eq!(failed, tried.iter().filter(|&&size| size > most).count());
    assert_eq!(unit.engine().memory_releases(), failed as u64);
    // The first is only asked for the number of samples.
    assert_eq!(made.borrow()[1..], *tried);
}

#[test]
fn the_size_is_the_largest_that_fits() {
    let (power, binary) = (BatchSizeFinder::power, BatchSizeFinder::binary);
    check(power(), 24, 16, &[2, 4, 8, 16, 32]);
    check(binary(), 24, 24, &[2, 4, 8, 16, 32, 24, 28, 26, 25]);
    check(binary(), 23, 23, &[2, 4, 8, 16, 32, 24, 20, 22, 23]);
    check(power().start(3).most(24), 24, 24, &[3, 6, 12, 24]);
    check(binary().start(3), 3, 3, &[3, 6, 4]);
    // The number of samples is a bound.
    check(power(), 1000, 100, &[2, 4, 8, 16, 32, 64, 100]);
    check(binary().start(100), 1000, 100, &[100]);
    check(power().most(usize::MAX), 99, 64, &[2, 4, 8, 16, 32, 64, 100]);
    check(power().steps_per_trial(1).most(2), 99, 2, &[2]);
}

#[test]
fn every_size_is_found_by_halves() {
    for most in 2..=99 {
        let mut unit = unit(most);
        let found =
            BatchSizeFinder::binary().find(&mut Run::new(&mut unit), |size| loader().batch_size(size));
        assert_eq!(found.unwrap().size(), most);
    }
}

#[test]
fn a_trial_makes_its_steps_and_an_update() {
    let mut updates = 0;
    let mut steps = 0;
    let counted = std::sync::Arc::new(std::sync::Mutex::new((0, 0)));
    let (on_step, on_update) = (counted.clone(), counted.clone());
    let mut unit = unit(99)
        .after_backward(move |_, _| {
            on_step.lock().unwrap().0 += 1;
            Ok(())
        })
        .before_update(move |_, _| {
            on_update.lock().unwrap().1 += 1;
            Ok(())
        });
    for (size, made) in [(2, 3), (40, 3), (60, 2), (99, 2)] {
        let finder = BatchSizeFinder::power().start(size).most(size);
        finder.find(&mut Run::new(&mut unit), |size| loader().batch_size(size)).unwrap();
        (steps, updates) = (steps + made, updates + 1);
        assert_eq!(*counted.lock().unwrap(), (steps, updates), "{size}");
    }
}

#[test]
fn the_trials_are_a_table() {
    let mut unit = unit(6);
    let found = BatchSizeFinder::power().find(&mut Run::new(&mut unit), |size| loader().batch_size(size));
    assert_eq!(
        found.unwrap().to_string(),
        "batch size 4, after 3 trials\n2  fits\n4  fits\n\
         8  unit failed in train_step in train at epoch 0 step 0: CUDA out of memory"
    );
}

#[test]
fn a_panic_about_memory_counts_and_any_other_error_is_returned() {
    let find = |unit: &mut AutoUnit<ToyEngine<ToyArray>, Limited>| {
        BatchSizeFinder::binary().find(&mut Run::new(unit), |size| loader().batch_size(size))
    };
    let mut unit = unit(24);
    unit.task_mut().panics = true;
    assert_eq!(find(&mut unit).unwrap().size(), 24);
    for panics in [false, true] {
        (unit.task_mut().panics, unit.task_mut().cause) = (panics, "no such column");
        let error = find(&mut unit).unwrap_err();
        assert_eq!((error.is_panic(), error.is_out_of_memory()), (panics, false));
        assert!(format!("{error:#}").ends_with("no such column"));
    }
    // One for which nothing fits.
    let mut unit = self::unit(1);
    let error = find(&mut unit).unwrap_err();
    assert!(error.is_out_of_memory());
    assert_eq!(
        format!("{error:#}"),
        "unit failed in train_step in train at epoch 0 step 0: CUDA out of memory"
    );
}

#[test]
fn settings_that_cannot_be_used_are_refused() {
    let check = |finder: BatchSizeFinder, expected: &str| {
        let error = finder.find(&mut Run::new(&mut unit(9)), |size| loader().batch_size(size)).unwrap_err();
        assert_eq!(error.to_string(), format!("`BatchSizeFinder`: {expected}"));
    };
    let nothing = "a batch of 0 samples, or a trial of 0 steps; give 1 or more";
    check(BatchSizeFinder::power().start(0), nothing);
    check(BatchSizeFinder::power().steps_per_trial(0), nothing);
    check(BatchSizeFinder::power().start(101), "it starts with 101, and at most 100 are possible");
    check(BatchSizeFinder::power().start(9).most(8), "it starts with 9, and at most 8 are possible");
    let find = |run: &mut Run<'_, _>, finder: BatchSizeFinder| -> Result<usize, Error> {
        let found = finder.find(run, |size| loader().batch_size(size).take_batches(9));
        found.map(|found| found.size())
    };
    let mut unit = unit(9);
    let mut run = Run::new(&mut unit);
    let error = find(&mut run, BatchSizeFinder::power()).unwrap_err().to_string();
    assert_eq!(error, "`BatchSizeFinder`: the data do not tell their number of samples; give `most`");
    assert_eq!(find(&mut run, BatchSizeFinder::power().most(64)).unwrap(), 8);
    let mut run = run.rank(Rank { index: 0, count: 2 });
    let error = find(&mut run, BatchSizeFinder::power().most(64)).unwrap_err().to_string();
    assert_eq!(
        error,
        "`BatchSizeFinder`: not among several ranks; find it in a run of one, and give all ranks the result"
    );
}
