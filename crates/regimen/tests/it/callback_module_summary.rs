//! The summary of a module at the start of training.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use regimen::auto_unit::Thaw;
use regimen::callback::{ModuleSummary, ProgressBar};
use regimen::data::Rank;
use regimen::engine::any_of;
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
fn the_first_rank_alone_shows_it() {
    let out = Shared::default();
    let mut unit = unit();
    let run = Run::new(&mut unit).rank(Rank { index: 1, count: 2 });
    run.callback(ModuleSummary::to(out.clone())).train(&[0.5], Train::epochs(1)).unwrap();
    assert_eq!(out.text(), "");
}
