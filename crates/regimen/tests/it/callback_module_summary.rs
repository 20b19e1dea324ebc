//! The summary of a module at the start of training.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use regimen::auto_unit::Thaw;
use regimen::callback::{Event, ModuleSummary, ProgressBar};
use regimen::data::Rank;
use regimen::engine::{Engine, any_of};
use regimen::run::Train;
use regimen::{AutoUnit, BoxError, Loss, Run, Step, Task};
use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp, ToyOptimizer, ToyVars};

struct Regress;

impl Task<ToyEngine<ToyMlp>> for Regress {
    type Batch = f64;
    type Output = ();

    fn compute_loss(&mut self, _: &Step, mlp: &ToyMlp, x: &f64) -> Result<(Loss<ToyArray>, ()), BoxError> {
        let x = ToyArray::new(&[1, 1], &[*x]);
        Ok((Loss::mean(mlp.forward(&x).mean(), 1.0), ()))
    }
}

fn unit() -> AutoUnit<ToyEngine<ToyMlp>, Regress> {
    let mut vars = ToyVars::new();
    let mlp = ToyMlp::regularized(&mut vars, [1, 200, 1], 0.5);
    let engine = ToyEngine::new(vars, mlp, ToyOptimizer::sgd(0.0)).group("output", any_of(["output.*"]));
    AutoUnit::new(engine, Regress)
}

/// Takes what is written.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const WHOLE: &str = "\
name            shape     parameters  trainable    size
-------------------------------------------------------
centre                             0          0  1.6 KB
  running_mean  [200]              0          0  1.6 KB
hidden                           400        400  3.2 KB
  bias          [200]            200        200  1.6 KB
  weight        [1, 200]         200        200  1.6 KB
output                           201          0  1.6 KB
  bias          [1]                1          0     8 B
  weight        [200, 1]         200          0  1.6 KB
-------------------------------------------------------
total                            601        400  6.4 KB
";

#[test]
fn the_module_is_shown_once_with_what_is_frozen_at_the_start() {
    let out = Shared::default();
    let mut unit = unit().freeze("output", Thaw::AtEpoch(1));
    let mut run = Run::new(&mut unit).callback(ModuleSummary::to(out.clone()));
    run.train(&[0.5], Train::epochs(1)).unwrap();
    run.train(&[0.5], Train::epochs(2)).unwrap();
    assert_eq!(out.text(), WHOLE);
}

#[test]
fn the_printer_of_a_bar_prints_it_up_to_a_depth() {
    let out = Shared::default();
    let bar = ProgressBar::to(out.clone());
    let mut unit = unit();
    let summary = ModuleSummary::to(bar.printer()).max_depth(1);
    Run::new(&mut unit).callback(bar).callback(summary).train(&[0.5], Train::epochs(0)).unwrap();
    let text = out.text();
    let table = text.split_inclusive('\n').take(7).collect::<String>();
    assert_eq!(
        table,
        "\
name    shape  parameters  trainable    size
--------------------------------------------
centre                  0          0  1.6 KB
hidden                400        400  3.2 KB
output                201        201  1.6 KB
--------------------------------------------
total                 601        601  6.4 KB
"
    );
}

#[test]
fn the_third_step_is_measured_and_no_later_one() {
    let check = |steps: &[u64], costs: &str| {
        let out = Shared::default();
        let mut unit = unit();
        let mut run = Run::new(&mut unit).callback(ModuleSummary::to(out.clone()).max_depth(0).measure());
        for &steps in steps {
            run.train(&[0.5; 9], Train::steps(steps)).unwrap();
        }
        drop(run);
        let text = out.text();
        assert_eq!(text.lines().last().unwrap_or_default(), costs, "{steps:?}");
        assert_eq!(unit.engine().costs(), [], "{steps:?}");
    };
    let measured = "total                601        601  6.4 KB   1.000   2.000";
    check(&[5], measured);
    check(&[3], measured);
    check(&[2, 5], measured);
    check(&[1], measured);
    // There is no step to measure.
    check(&[0], "total                601        601  6.4 KB");
}

#[test]
fn a_summary_of_a_measured_step_comes_after_it() {
    let out = Shared::default();
    let mut unit = unit();
    let seen = out.clone();
    let lengths = Arc::new(Mutex::new(Vec::new()));
    let noted = lengths.clone();
    let summary = ModuleSummary::to(out.clone()).max_depth(1).measure();
    Run::new(&mut unit)
        .callback(summary)
        .on(Event::TrainStepEnd, move |_, _| noted.lock().unwrap().push(seen.text().lines().count()))
        .train(&[0.5; 5], Train::epochs(1))
        .unwrap();
    assert_eq!(*lengths.lock().unwrap(), [0, 0, 7, 7, 7]);
    assert_eq!(
        out.text(),
        "\
name    shape  parameters  trainable    size  ms fwd  ms bwd
------------------------------------------------------------
centre                  0          0  1.6 KB
hidden                400        400  3.2 KB
output                201        201  1.6 KB
------------------------------------------------------------
total                 601        601  6.4 KB   1.000   2.000
"
    );
}

#[test]
fn the_first_rank_alone_shows_it() {
    let out = Shared::default();
    let mut unit = unit();
    let run = Run::new(&mut unit).rank(Rank { index: 1, count: 2 });
    run.callback(ModuleSummary::to(out.clone())).train(&[0.5], Train::epochs(1)).unwrap();
    assert_eq!(out.text(), "");
}
