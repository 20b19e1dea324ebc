//! The same training with several seeds.

use regimen::finder::Seeds;
use regimen::metric::Key;
use regimen::run::Train;
use regimen::unit::TrainUnit;
use regimen::{BoxError, Run, State};

const LOSS: Key = Key::mean("loss");
const NOISE: Key = Key::mean("noise");

/// Logs its seed, with the number of the epoch behind it.
struct Told;

impl TrainUnit for Told {
    type Batch = f64;

    fn train_step(&mut self, state: &mut State, batch: f64) -> Result<(), BoxError> {
        let seed = state.seed() as f64;
        state.log(LOSS, seed + batch * state.train_progress().epochs as f64, 1.0);
        if state.seed() == 4 {
            return Err("no file `train.csv`".into());
        }
        if state.train_progress().epochs == 0 {
            state.log(NOISE, if state.seed() == 5 { f64::NAN } else { seed }, 1.0);
        }
        Ok(())
    }
}

#[test]
fn the_metrics_of_the_newest_epoch_are_summed_up_and_a_failure_loses_no_other() {
    let results = Seeds::new([1, 2, 4, 5, 6, 9]).run(|seed| {
        if seed == 9 {
            panic!("on purpose");
        }
        let report = Run::new(&mut Told).seed(seed).train(&[0.5], Train::epochs(3))?;
        Ok(report.metrics())
    });
    // Of 2, 3, 6, 7: the mean 4.5, and the squares 6.25, 2.25, 2.25, 6.25 over 3.
    let loss = results.metric(LOSS).unwrap();
    assert_eq!((loss.count(), loss.mean(), loss.min(), loss.max()), (4, Some(4.5), Some(2.0), Some(7.0)));
    assert!((loss.deviation().unwrap() - (17.0_f64 / 3.0).sqrt()).abs() < 1e-15);
    // Of 1, 2, 6.
    let noise = results.metric(NOISE).unwrap();
    assert_eq!((noise.count(), noise.mean(), noise.not_finite().len()), (3, Some(3.0), 1));
    assert_eq!(
        results.to_string(),
        "metric  seeds       mean  deviation        min        max\n\
         loss        4      4.500      2.380      2.000      7.000\n\
         noise       3      3.000      2.646      1.000      6.000\n\
         noise of seed 5 is NaN, and left out\n\
         seed 4 failed: unit failed in train_step in train at epoch 0 step 0: no file `train.csv`\n\
         seed 9 failed: panicked: on purpose"
    );
    let seeds: Vec<(u64, bool)> =
        results.results().iter().map(|(seed, found)| (*seed, found.is_ok())).collect();
    assert_eq!(seeds, [(1, true), (2, true), (4, false), (5, true), (6, true), (9, false)]);
    let one = Seeds::new([7]).run(|seed| Ok(vec![(LOSS, seed as f64)]));
    assert_eq!(
        one.to_string(),
        "metric  seeds       mean  deviation        min        max\n\
         loss        1      7.000          -      7.000      7.000"
    );
    assert_eq!(Seeds::new([]).run(|_| Ok(Vec::new())).to_string().lines().count(), 1);
}
