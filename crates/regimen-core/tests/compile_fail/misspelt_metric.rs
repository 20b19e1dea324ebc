use regimen_core::auto_unit::EVAL_LOSS;
use regimen_core::Run;

fn loss<U>(run: &Run<'_, U>) -> Option<f64> {
    let _ = EVAL_LOSS;
    run.state().value(EVAL_LOS)
}

fn main() {}
