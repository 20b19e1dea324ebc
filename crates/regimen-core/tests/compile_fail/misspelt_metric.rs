use regimen_core::{EVAL_LOSS, Run};

fn loss<U>(run: &Run<'_, U>) -> Option<f64> {
    let _ = EVAL_LOSS;
    run.state().metric(&EVAL_LOS)?.epoch()
}

fn main() {}
